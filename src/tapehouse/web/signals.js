// The signals of the chosen symbol and of the market as a whole: a list, newest first, and marks for the chart.

import { element } from "./element.js";
import { kindOf, stateOf } from "./kinds.js";
import { minuteTime, seconds } from "./numbers.js";

const KEPT = 500;
const SHOWN = 60;
const WHOLE_MARKET = "*";

export class Signals {
  /** `on.changed()` is called when there is another set to mark; `on.pick(signal)` when one is asked about. */
  constructor({ list, note, tally }, on) {
    this.places = { list, note, tally };
    this.on = on;
    this.known = new Map();
    this.symbol = "";
    list.addEventListener("click", (event) => this.#pick(event.target.closest("button")));
  }

  choose(symbol) {
    this.symbol = symbol;
    this.#show();
  }

  /** Take signals as they are known now. One of an open window that would not come is forgotten; others say so. */
  add(rows) {
    for (const row of rows) {
      const known = this.known.get(keyOf(row));
      if (row.state === "retracted" && (row.revision === 0 || !known)) this.known.delete(keyOf(row));
      else if (!known || row.revision >= known.revision) this.known.set(keyOf(row), row);
    }
    const newest = [...this.known].sort(([, left], [, right]) => seconds(right.opened_at) - seconds(left.opened_at));
    this.known = new Map(newest.slice(0, KEPT));
    this.#show();
  }

  /** Those of the chosen symbol, newest first. */
  get own() {
    return [...this.known.values()].filter(({ symbol }) => symbol === this.symbol || symbol === WHOLE_MARKET);
  }

  /** Those of windows of an interval, by opening time; what was withdrawn is not marked. */
  marked(interval) {
    const byTime = new Map();
    for (const signal of this.own) {
      if (signal.interval !== interval || signal.state === "retracted") continue;
      const time = seconds(signal.opened_at);
      byTime.set(time, [...(byTime.get(time) ?? []), signal]);
    }
    return byTime;
  }

  /** The signal as it is known now, if it still is. */
  current(signal) {
    return this.known.get(keyOf(signal));
  }

  #pick(button) {
    const signal = button && this.known.get(button.dataset.key);
    if (signal) this.on.pick(signal, button);
  }

  #show() {
    const shown = this.own.slice(0, SHOWN);
    const standing = this.own.filter(({ state }) => state !== "retracted").length;
    const focused = document.activeElement?.dataset?.key;
    this.places.list.replaceChildren(...shown.map(entry));
    if (focused) this.places.list.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    this.places.tally.textContent = standing || "";
    this.places.note.hidden = shown.length > 0;
    this.places.note.textContent = `Nothing unusual about ${this.symbol}. A window is compared with those before it, so that the first signal takes some hours of history.`;
    this.on.changed();
  }
}

export function keyOf({ kind, symbol, interval, opened_at }) {
  return [kind, symbol, interval, opened_at].join(" ");
}

function entry(signal) {
  const { name, letter } = kindOf(signal);
  const state = stateOf(signal);
  const made = document.createElement("button");
  made.type = "button";
  Object.assign(made.dataset, { key: keyOf(signal), state });
  const time = element("time", minuteTime(signal.opened_at).slice(5));
  time.dateTime = signal.opened_at;
  const mark = element("i", letter, "letter");
  mark.ariaHidden = "true";
  made.append(mark, element("span", name, "name"), element("span", signed(signal.score), "score"), time, element("span", `${signal.interval} · ${state}`, "about"));
  const item = document.createElement("li");
  item.append(made);
  return item;
}

function signed(score) {
  return `${score < 0 ? "−" : "+"}${Math.abs(score).toFixed(Math.abs(score) < 1 ? 2 : 1)}`;
}
