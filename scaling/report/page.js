// Draws the figures (Vega-Lite, SVG), offers each as PNG and CSV, sorts and filters the table of runs.
"use strict";
const specs = JSON.parse(document.getElementById("specs").textContent);

// The spec with its legend in so many columns (0: one row), its title above it where there is little room.
function withLegend(spec, columns, narrow) {
  const legend = { ...spec.config.legend, columns, ...(narrow ? { titleOrient: "top" } : {}) };
  return { ...spec, config: { ...spec.config, legend } };
}

async function draw(box) {
  const name = box.dataset.spec;
  const options = { renderer: "svg", actions: false, ast: true, mode: "vega-lite", tooltip: { theme: "custom" } };
  for (const columns of [0, 3, 2, 1]) {
    const spec = withLegend(specs[name], columns, box.clientWidth < 400);
    await vegaEmbed(box, spec, options);
    const right = (element) => element.getBoundingClientRect().right;
    if ([...box.querySelectorAll(".role-legend")].every((legend) => right(legend) <= right(box))) return;
  }
}

function save(name, url) {
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
}

// A canvas cannot resolve var(--name): the PNG is drawn from the spec with the colours filled in.
async function savePng(name) {
  const style = getComputedStyle(document.documentElement);
  const probe = document.createElement("i");
  document.body.append(probe);
  const colour = (variable) => {
    probe.style.color = `var(${variable})`;
    return getComputedStyle(probe).color;
  };
  const text = JSON.stringify(specs[name]).replace(/var\((--[\w-]+)\)/g, (_, variable) => colour(variable));
  const spec = { ...JSON.parse(text), width: 800, background: colour("--paper"), padding: 16 };
  probe.remove();
  const result = await vegaEmbed(document.createElement("div"), spec, { renderer: "canvas", actions: false, ast: true });
  save(`${name}.png`, await result.view.toImageURL("png", 2));
  result.finalize();
}

function saveCsv(name) {
  const { datasets } = specs[name];
  const rows = datasets.runs ?? datasets.optima ?? datasets.curves;
  const columns = Object.keys(rows[0]);
  const cell = (value) => (value == null ? "" : /[",\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : value);
  const lines = [columns.join(","), ...rows.map((row) => columns.map((column) => cell(row[column])).join(","))];
  save(`${name}.csv`, `data:text/csv;charset=utf-8,${encodeURIComponent(lines.join("\n"))}`);
}

function interactiveTable(table) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const compare = (a, b, i) => {
    const [x, y] = [a.cells[i], b.cells[i]];
    if (heads[i].classList.contains("text")) return x.textContent.localeCompare(y.textContent);
    return x.dataset.v - y.dataset.v;
  };
  heads.forEach((head, i) =>
    head.firstElementChild.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const known = (row) => head.classList.contains("text") || "v" in row.cells[i].dataset;
      const rows = [...body.rows].filter(known).sort((a, b) => (down ? compare(b, a, i) : compare(a, b, i)));
      body.append(...rows, ...[...body.rows].filter((row) => !known(row))); // what has no value comes last
    }),
  );
  const box = table.closest(".block");
  box.querySelector("input").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of body.rows) {
      const text = [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    box.querySelector("output").textContent = shown;
  });
}

const charts = [...document.querySelectorAll(".chart")];
charts.forEach((box) => {
  const figure = box.closest("figure");
  figure.querySelector("[data-get=png]").addEventListener("click", () => savePng(box.dataset.spec));
  figure.querySelector("[data-get=csv]").addEventListener("click", () => saveCsv(box.dataset.spec));
});
const runs = document.getElementById("runs-table");
if (runs) interactiveTable(runs);
Promise.all(charts.map(draw)).then(() => (document.documentElement.dataset.ready = "true"));
