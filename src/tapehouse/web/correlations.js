// Who moves alike: the correlation of the symbols' returns, each with each, as numbers and colours.

import { Cells } from "./cells.js";
import { baseOf } from "./news.js";
import { count } from "./numbers.js";

const REFRESH = 60_000;
const SPANS = { hour: ["1m", 60, "the last hour, by minutes"], day: ["15m", 96, "the last day, by quarters of an hour"], week: ["1h", 168, "the last week, by hours"] };
const STEPS = 3; // shades on either side of nothing
const NOTHING = 0.1; // below it two symbols have next to nothing in common

export class Correlations {
  constructor({ table, note, choice }) {
    this.cells = new Cells(table, note);
    this.choice = choice;
    this.symbol = "";
    this.chosen = false;
    choice.addEventListener("change", () => {
      this.chosen = true;
      this.#load();
    });
    setInterval(() => document.hidden || this.#load(), REFRESH);
  }

  /** The chosen symbol and those it may be compared with. */
  choose(symbol, symbols) {
    if (symbol === this.symbol) return;
    this.symbol = symbol;
    this.symbols = [...new Set([symbol, ...symbols])].slice(0, 8);
    this.#load();
  }

  async #load() {
    if (!this.symbol) return;
    const { symbols } = this;
    const [interval, limit, words] = this.#span();
    const query = new URLSearchParams({ symbols: symbols.join(","), interval, limit });
    try {
      const answer = await fetch(`/correlations?${query}`);
      if (!answer.ok) throw new Error(`${answer.status} for ${answer.url}`);
      const told = await answer.json();
      if (symbols !== this.symbols || interval !== this.#span()[0]) return;
      if (!this.chosen && symbols.length > 1 && !isKnown(told.correlations)) return this.#begin();
      this.#show(told, words);
    } catch (error) {
      console.warn("correlations could not be read:", error);
    }
  }

  #span() {
    return SPANS[this.choice.querySelector("input:checked").value];
  }

  /** On a young platform a day says nothing yet, but the last hour may. */
  #begin() {
    this.chosen = true;
    this.choice.querySelector("input[value=hour]").checked = true;
    this.#load();
  }

  #show({ symbols, correlations, returns }, words) {
    const short = new Set(symbols.map(baseOf)).size === symbols.length ? symbols.map(baseOf) : symbols;
    const rows = symbols.map((one, row) => [short[row], symbols.map((other, column) => matrixCell(one, other, correlations[row][column], returns[row][column]))]);
    const said = symbols.length < 2 ? "One symbol is followed: there is nothing to compare it with." : "";
    const why = isKnown(correlations) ? `Correlation of returns over ${words}.` : "Too few shared windows yet: from 10 returns on there is something to say.";
    this.cells.explain("against", ["down-3", "down-2", "down-1", "0", "up-1", "up-2", "up-3"], "alike");
    this.cells.show(short, rows, said || why);
  }
}

/** Whether anything is known of two different symbols. */
function isKnown(correlations) {
  return correlations.some((row, place) => row.some((value, other) => value !== null && place !== other));
}

function matrixCell(one, other, value, shared) {
  const pair = one === other ? `${one} with itself` : `${one} with ${other}`;
  if (value === null) return { text: "–", kind: "none", told: `${pair}: not known, ${count(shared, "shared return")}` };
  const side = value < 0 ? "down" : "up";
  const step = Math.abs(value) < NOTHING ? "0" : `${side}-${Math.min(STEPS, Math.ceil(Math.abs(value) * STEPS))}`;
  return { text: value.toFixed(2).replace("-", "−"), step, kind: one === other ? "own" : "", told: `${pair}: ${value.toFixed(3).replace("-", "−")} over ${count(shared, "shared return")}` };
}
