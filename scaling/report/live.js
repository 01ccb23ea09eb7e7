// Keeps a served page up to date: every two seconds what runs now; the whole page, in its place, when it has changed.
"use strict";
const root = document.documentElement;
const named = () => [...document.querySelectorAll("main input, main select")].filter((input) => input.name || input.ariaLabel);
const nameOf = (input) => input.name || input.ariaLabel;

function keep() {
  const values = Object.fromEntries(named().map((input) => [nameOf(input), input.value]));
  sessionStorage.setItem("kept", JSON.stringify({ y: scrollY, values }));
}

// When the figures have been drawn, and the page has its height again.
function restore() {
  if (!root.dataset.ready) return setTimeout(restore, 50);
  const kept = JSON.parse(sessionStorage.getItem("kept"));
  sessionStorage.removeItem("kept");
  if (!kept) return;
  for (const input of named()) {
    const value = kept.values[nameOf(input)];
    if (value === undefined || value === input.value) continue;
    input.value = value;
    input.dispatchEvent(new Event("input", { bubbles: true }));
  }
  scrollTo(0, kept.y);
}

async function look() {
  const shown = document.getElementById("now");
  try {
    const seen = await (await fetch("now.json", { cache: "no-store" })).json();
    shown.textContent = seen.lines.join("\n");
    if (seen.version !== root.dataset.version) {
      keep();
      return location.reload();
    }
  } catch {
    shown.textContent = "nobody serves this page any more";
  }
  setTimeout(look, 2000);
}

history.scrollRestoration = "manual";
restore();
look();
