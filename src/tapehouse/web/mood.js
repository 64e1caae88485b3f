// Fear & Greed: a gauge of today's value, and its days as a line. Missing days stay open.

const SVG = "http://www.w3.org/2000/svg";
const CLASSES = [[25, "extreme-fear"], [46, "fear"], [54, "neutral"], [75, "greed"], [100, "extreme-greed"]];
const DAY = 86_400_000;

export class Mood {
  constructor({ gauge, line, value, word, since }) {
    this.places = { gauge, line, value, word, since };
    this.days = new Map();
  }

  add(rows) {
    for (const row of rows) this.days.set(row.key, row);
    const days = [...this.days.values()].sort((left, right) => (left.key < right.key ? -1 : 1)).slice(-90);
    if (days.length) this.#show(days);
  }

  #show(days) {
    const { key, value, value_classification: word } = days.at(-1);
    this.places.value.textContent = value;
    this.places.word.textContent = word;
    this.places.since.textContent = key;
    this.places.gauge.replaceChildren(gauge(value));
    this.places.gauge.ariaLabel = `Fear and Greed index ${value} of 100: ${word}, on ${key}`;
    const values = days.map((day) => day.value);
    this.places.line.replaceChildren(line(days));
    this.places.line.ariaLabel = `The index of ${days.length} days: from ${Math.min(...values)} to ${Math.max(...values)}, ${value} now`;
  }
}

/** Half a circle in five colours, and a needle. */
function gauge(value) {
  const drawing = shape("svg", { viewBox: "0 0 100 56" });
  let from = 0;
  for (const [to, name] of CLASSES) {
    drawing.append(shape("path", { d: `M ${at(from, 42)} A 42 42 0 0 1 ${at(to, 42)}`, class: `arc ${name}` }));
    from = to;
  }
  drawing.append(shape("path", { d: `M ${at(value, 8)} L ${at(value, 36)}`, class: "needle" }));
  return drawing;
}

/** Where a value of 0 to 100 lies on the half circle with this radius. */
function at(value, radius) {
  const angle = Math.PI * (1 - value / 100);
  return `${(50 + radius * Math.cos(angle)).toFixed(2)} ${(50 - radius * Math.sin(angle)).toFixed(2)}`;
}

function line(days) {
  const first = Date.parse(days[0].key);
  const last = Math.max(Date.parse(days.at(-1).key), first + DAY);
  const drawing = shape("svg", { viewBox: "0 0 200 56", preserveAspectRatio: "none" });
  for (const level of [25, 50, 75]) drawing.append(shape("path", { d: `M 0 ${y(level)} H 200`, class: "level" }));
  let path = "";
  let before = null;
  for (const { key, value } of days) {
    const time = Date.parse(key);
    path += `${before !== null && time - before === DAY ? "L" : "M"} ${(((time - first) / (last - first)) * 200).toFixed(1)} ${y(value)} `;
    before = time;
  }
  drawing.append(shape("path", { d: path, class: "days" }));
  return drawing;
}

function y(value) {
  return (54 - value * 0.52).toFixed(1);
}

function shape(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}
