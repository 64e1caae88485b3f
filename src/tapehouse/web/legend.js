// What is drawn over the chart, in words and numbers: each line with its mark and its value where the pointer is.

import { grouped } from "./numbers.js";

/** Show `[[indicator, [[line, value], ...]], ...]` with as many decimals as the price has; RSI and the like have two. */
export function showLegend(list, told, places) {
  list.hidden = told.length === 0;
  if (list.childElementCount !== told.length || told.some(([{ name }], place) => list.children[place].dataset.name !== name)) {
    list.replaceChildren(...told.map(([indicator, lines]) => entry(indicator, lines)));
  }
  told.forEach(([indicator, lines], place) => {
    const values = list.children[place].querySelectorAll("output");
    lines.forEach(([, value], line) => (values[line].textContent = shown(value, indicator.pane === "price" ? Math.min(places, 4) : 2)));
  });
}

function entry(indicator, lines) {
  const made = document.createElement("li");
  made.dataset.name = indicator.name;
  made.title = indicator.about;
  made.append(mark(lines[0][0]), indicator.label);
  for (const [line] of lines) {
    const value = document.createElement("output");
    value.dataset.field = line.field;
    value.title = line.field.replaceAll("_", " ");
    made.append(value);
  }
  return made;
}

function mark(line) {
  const made = document.createElement("i");
  made.className = "mark";
  made.dataset.colour = line.colour;
  made.dataset.dash = line.dash ?? "";
  return made;
}

function shown(value, places) {
  return value == null ? "–" : grouped(value.toFixed(places).replace("-", "−"));
}
