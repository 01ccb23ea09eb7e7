// Draws the figures (Vega-Lite, SVG), offers them as PNG and all data as CSV, sorts and filters the table of runs.
"use strict";
const { specs, calculator } = JSON.parse(document.getElementById("data").textContent);

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

// Rows of cells as a CSV file.
function saveCsv(name, rows) {
  const quoted = (value) => (/[",\n\r]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : value);
  const lines = rows.map((row) => row.map((value) => quoted(value ?? "")).join(","));
  save(`${name}.csv`, `data:text/csv;charset=utf-8,${encodeURIComponent(lines.join("\n") + "\n")}`);
}

// All that a figure draws: one row a mark; the first column names its layer.
function figureRows(name) {
  const tables = Object.entries(specs[name].datasets);
  const columns = [...new Set(tables.flatMap(([, rows]) => rows.flatMap(Object.keys)))];
  const cells = ([layer, rows]) => rows.map((row) => [layer, ...columns.map((column) => row[column])]);
  return [["layer", ...columns], ...tables.flatMap(cells)];
}

// Whole numbers where the page shows rounded ones.
function tableRows(table) {
  const cells = (row) => [...row.cells].map((cell) => cell.dataset.v ?? cell.textContent.trim());
  return [...table.rows].map(cells);
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

// ---- Calculator: log-linear between the grid's points, nothing beyond them ----

const SUFFIXES = { "": 1, k: 1e3, m: 1e6, b: 1e9, g: 1e9, t: 1e12, p: 1e15, e: 1e18 };

// "70B", "1.5e22", "3,000" as a number; NaN for what is none.
function parsed(text) {
  const [, number, suffix] = text.replace(/[\s,_]/g, "").match(/^(\d*\.?\d+(?:e[+-]?\d+)?)([a-z]?)$/i) ?? [];
  return Number(number) * SUFFIXES[suffix?.toLowerCase()];
}

// Where x lies among the rising xs: index, and share of the way to the next; null outside.
function place(xs, x) {
  const slack = 1 + 1e-9;
  const i = xs.findIndex((low, k) => x * slack >= low && x <= xs[k + 1] * slack);
  return i < 0 ? null : [i, Math.log(x / xs[i]) / Math.log(xs[i + 1] / xs[i])];
}

const between = (ys, [i, share]) => ys[i] ** (1 - share) * ys[i + 1] ** share;
const between2 = (rows, [i, share], at) => between([between(rows[i], at), between(rows[i + 1], at)], [0, share]);

// flops, n_params and n_tokens from those of them that are given; throws the reason why not.
function completed({ flops, n_params, n_tokens }) {
  const table = calculator;
  const within = (xs, x, ys) => {
    const at = place(xs, x);
    if (!at) throw "Outside what the calculator covers: no model in its range.";
    return between(ys, at);
  };
  const cost = (size) => within(table.sizes, size, table.per_token);
  const size_of = (spent, tokens) => within(table.per_token, spent / tokens, table.sizes);
  if (flops && n_params && n_tokens) throw "Leave one of the three empty.";
  if (n_params && n_tokens) flops = cost(n_params) * n_tokens;
  else if (flops && n_tokens) n_params = size_of(flops, n_tokens);
  else if (!flops) {
    const best = n_params ? table.n_params : table.n_params.map((size, i) => table.flops[i] / cost(size));
    const at = place(best, n_params || n_tokens);
    if (!at) throw "Outside what the calculator covers: no budget in its range has this as its best.";
    flops = between(table.flops, at);
  }
  const at = place(table.flops, flops);
  if (!at) throw `Outside what the calculator covers: ${flops.toPrecision(2)} FLOPs.`;
  const best = between(table.n_params, at);
  n_params ||= n_tokens ? size_of(flops, n_tokens) : best;
  const across = place(table.ratios, n_params / best);
  if (!across) throw "Outside what the calculator covers: this size is more than 30 times off the best one.";
  return { flops, n_params, n_tokens: flops / cost(n_params), best, at, across };
}

const count = (x) => x.toLocaleString("en", { notation: "compact", maximumSignificantDigits: 3 }).replace("K", "k");
const number = (x) =>
  x >= 1e-4 && x < 1e6 ? x.toLocaleString("en", { maximumSignificantDigits: 3 }) : x.toExponential(1).replace(".0e", "e").replace("+", "");
const nats = (x) => x.toFixed(3);
const duration = (hours) => (hours < 0.1 ? `${number(3600 * hours)} s` : hours < 72 ? `${number(hours)} h` : `${number(hours / 24)} days`);

// What is to be shown: [name, title, value, text, note].
function answer(form) {
  const given = {};
  for (const name of ["flops", "n_params", "n_tokens"]) {
    const text = form[name].value.trim();
    given[name] = text ? parsed(text) : 0;
    if (text && !(given[name] > 0)) throw `“${text}” is no number above 0; write 1e22, 70B or 3,000.`;
  }
  if (!Object.values(given).some(Boolean)) throw "Give a budget, a size or an amount of data.";
  const [n_devices, mfu] = [parsed(form.n_devices.value), parsed(form.mfu.value)];
  if (!(n_devices >= 1)) throw "Devices: at least 1.";
  if (!(mfu > 0 && mfu <= 1)) throw "MFU: above 0 and at most 1.";

  const { flops, n_params, n_tokens, best, at, across } = completed(given);
  const predicted = (name) => calculator[name] && between2(calculator[name], at, across);
  const range = (write, lo, hi) => (lo ? `${write(lo)} to ${write(hi)}` : "");
  const is_best = Math.abs(n_params / best - 1) < 1e-6;
  const ends = (lo, hi) => (is_best && calculator[lo] ? range(count, between(calculator[lo], at), between(calculator[hi], at)) : "");
  const rows = [
    ["flops", "Compute C", flops, `${number(flops)} FLOPs`],
    ["n_params", is_best ? "Best parameters N" : "Parameters N", n_params, count(n_params), ends("n_lo", "n_hi")],
    ["n_tokens", is_best ? "Best tokens D" : "Tokens D", n_tokens, count(n_tokens), ends("d_lo", "d_hi")],
    ["loss", "Loss", predicted("loss"), nats(predicted("loss")), range(nats, predicted("lo"), predicted("hi"))],
  ];
  if (!is_best) {
    const lowest = between2(calculator.loss, at, place(calculator.ratios, 1));
    rows.push(["best_loss", "Best for this compute", lowest, nats(lowest), `N = ${count(best)}`]);
  }
  if (calculator.lr) rows.push(["lr", "Learning rate", predicted("lr"), number(predicted("lr")), range(number, predicted("lr_lo"), predicted("lr_hi"))]);
  if (calculator.batch_tokens)
    rows.push(["batch_tokens", "Batch, tokens", predicted("batch_tokens"), count(predicted("batch_tokens")), range(count, predicted("batch_lo"), predicted("batch_hi"))]);

  const device = calculator.hardware[form.hardware.value];
  const device_hours = flops / (device.peak_flops * mfu) / 3600;
  const kwh = ((device_hours * device.watts) / 1000) * calculator.pue;
  rows.push(["hours", "Time", device_hours / n_devices, duration(device_hours / n_devices), `${number(device_hours)} device hours`]);
  if (device.dollars_per_hour) {
    const money = device_hours * device.dollars_per_hour;
    rows.push(["money", "Money", money, `$${number(money)}`, `at $${device.dollars_per_hour} a device hour`]);
  }
  rows.push(["kwh", "Energy", kwh, `${number(kwh)} kWh`]);
  return rows;
}

function showAnswer(form) {
  const output = form.querySelector("output");
  const element = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });
  try {
    const list = document.createElement("dl");
    list.className = "key";
    for (const [name, title, value, text, note] of answer(form)) {
      const [row, shown] = [document.createElement("div"), element("dd", text)];
      Object.assign(shown.dataset, { name, value });
      if (note) shown.append(element("small", note));
      row.append(element("dt", title), shown);
      list.append(row);
    }
    output.replaceChildren(list);
  } catch (reason) {
    if (typeof reason !== "string") throw reason;
    output.replaceChildren(element("p", reason));
  }
}

// The clipboard may be closed to a page opened from a file; the selection is not.
async function copy(block) {
  const [button, text] = [block.querySelector("button"), block.querySelector("pre")];
  getSelection().selectAllChildren(text);
  if (!document.execCommand("copy")) await navigator.clipboard.writeText(text.textContent);
  getSelection().removeAllRanges();
  button.textContent = "Copied";
}

const charts = [...document.querySelectorAll(".chart")];
charts.forEach((box) => {
  const figure = box.closest("figure");
  figure.querySelector("[data-get=png]").addEventListener("click", () => savePng(box.dataset.spec));
  figure.querySelector("[data-get=csv]").addEventListener("click", () => saveCsv(box.dataset.spec, figureRows(box.dataset.spec)));
});
document.querySelectorAll(".block").forEach((block) => {
  const table = block.querySelector("table");
  block.querySelector("[data-get=csv]").addEventListener("click", () => saveCsv(table.dataset.name, tableRows(table)));
});
document.querySelectorAll(".snippet").forEach((block) => {
  block.querySelector("button").addEventListener("click", () => copy(block));
});
const form = document.getElementById("calculate");
if (form) {
  form.addEventListener("input", () => showAnswer(form));
  form.addEventListener("submit", (event) => event.preventDefault());
  showAnswer(form);
}
const runs = document.getElementById("runs-table");
if (runs) interactiveTable(runs);
Promise.all(charts.map(draw)).then(() => (document.documentElement.dataset.ready = "true"));
