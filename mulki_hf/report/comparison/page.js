"use strict";

// Without this script all tables and charts are there; it switches rows on and off, sorts, and reads out values.
const off = new Set();
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
all("button:disabled").forEach((button) => { button.disabled = false; });

const toggles = all("[data-toggle]");

function show(button, shown) {
  const row = button.dataset.toggle;
  shown ? off.delete(row) : off.add(row);
  button.setAttribute("aria-pressed", String(shown));
  all(`[data-row="${row}"]`).forEach((part) => part.classList.toggle("off", !shown));
  hideTip();
}

for (const button of toggles) button.addEventListener("click", () => show(button, off.has(button.dataset.toggle)));
for (const button of all("[data-all]")) {
  button.addEventListener("click", () => {
    const shown = off.size > 0;
    toggles.forEach((toggle) => show(toggle, shown));
  });
}

// Sorting: numbers by what stands first in a cell, what is not defined last.
function value(row, column) {
  const text = row.cells[column].textContent.trim();
  const number = parseFloat(text.replace(/^[≈+\s]+/, "").replace("−", "-"));
  return text === "-" ? null : Number.isNaN(number) || column === 0 ? text : number;
}

for (const table of all("table.sortable")) {
  const body = table.tBodies[0];
  const given = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", (event) => {
    const first = column === 0 || "less" in event.currentTarget.dataset ? "ascending" : "descending";
    const second = first === "ascending" ? "descending" : "ascending";
    const was = head.getAttribute("aria-sort");
    const now = was === "none" ? first : was === first ? second : "none";
    heads.forEach((other) => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", now);
    const sign = now === "ascending" ? 1 : -1;
    const rows = [...given];
    if (now !== "none") {
      rows.sort((one, other) => {
        const [a, b] = [value(one, column), value(other, column)];
        if (a === null || b === null) return (a === null) - (b === null);
        return sign * (typeof a === "string" || typeof b === "string" ? String(a).localeCompare(String(b)) : a - b);
      });
    }
    body.append(...rows);
  }));
}

// Values: by pointer, or by arrow keys in a chart that has the focus.
const tip = document.getElementById("tip");
let lit = null;

function hideTip() {
  tip.hidden = true;
  if (lit) lit.classList.remove("on");
  lit = null;
}

function showTip(hit, x, y) {
  const said = JSON.parse(hit.dataset.tip).filter(([row]) => !off.has(String(row)));
  tip.replaceChildren(...said.map(([row, text]) => {
    const line = document.createElement("div");
    if (row >= 0) line.className = document.querySelector(`g[data-row="${row}"]`).classList[0];
    line.append(text);
    return line;
  }));
  if (lit && lit !== hit) lit.classList.remove("on");
  lit = hit;
  hit.classList.add("on");
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const left = x + 14 + width > document.documentElement.clientWidth - 8 ? x - 14 - width : x + 14;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${Math.max(8, Math.min(y + 14, window.innerHeight - height - 8))}px`;
}

for (const chart of all(".chart")) {
  all("title", chart).forEach((title) => title.remove());
  const point = (event) => {
    const hit = event.target.closest(".hit");
    hit ? showTip(hit, event.clientX, event.clientY) : hideTip();
  };
  chart.addEventListener("pointermove", point);
  chart.addEventListener("pointerdown", point);
  chart.addEventListener("pointerleave", hideTip);
  chart.addEventListener("blur", hideTip);
  chart.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === "Escape") hideTip();
    if (!step) return;
    event.preventDefault();
    const hits = all(".hit", chart).filter((hit) => !hit.closest(".off"));
    if (!hits.length) return;
    const at = hits.indexOf(lit);
    const hit = hits[at < 0 ? (step > 0 ? 0 : hits.length - 1) : (at + step + hits.length) % hits.length];
    const box = hit.getBoundingClientRect();
    showTip(hit, box.x + box.width / 2, box.y + box.height / 2);
  });
}
window.addEventListener("scroll", hideTip, { passive: true });
