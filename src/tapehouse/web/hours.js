// The week by hours: a cell for each hour of the last seven UTC days, coloured by what was traded, or how the price moved.

import { Cells } from "./cells.js";
import { grouped, parseExact } from "./numbers.js";

const DAY = 86_400_000;
const HOUR = 3_600_000;
const DAYS = 7;
const STEPS = 6; // shades of a measure
const REFRESH = 15_000;
const WHOLE_EVERY = 300_000;
const RISING = ["least", ["1", "2", "3", "4", "5", "6"], "most"];
const BOTH_WAYS = ["fell", ["down-3", "down-2", "down-1", "0", "up-1", "up-2", "up-3"], "rose"];
const YEARLY = Math.sqrt(365 * 24);

const MEASURES = {
  volume: {
    of: (row) => Number(row.quote_volume),
    tell: (row) => `${grouped(row.quote_volume)} traded in ${grouped(row.trades)} trades`,
    said: "What was traded in each hour of the last seven days, by UTC.",
  },
  change: {
    of: (row) => (row.open > 0 ? row.close / row.open - 1 : 0),
    tell: (row) => `${signed((row.close / row.open - 1) * 100)} %, from ${grouped(row.open)} to ${grouped(row.close)}`,
    said: "How far the price moved in each hour of the last seven days, by UTC.",
    diverging: true,
  },
  volatility: {
    of: (row) => (row.low > 0 ? (Math.log(row.high / row.low) / Math.sqrt(4 * Math.LN2)) * YEARLY : 0),
    tell: (row) => `${(MEASURES.volatility.of(row) * 100).toFixed(1)} % a year by its range, ${grouped(row.low)} to ${grouped(row.high)}`,
    said: "Volatility of each hour from its highest and lowest price (Parkinson), told for a year.",
  },
};

export class Hours {
  constructor({ table, note, choice }) {
    this.cells = new Cells(table, note);
    this.choice = choice;
    this.rows = new Map();
    this.symbol = "";
    choice.addEventListener("change", () => this.#show());
    setInterval(() => document.hidden || this.#load(), REFRESH);
  }

  /** Show another symbol. */
  choose(symbol) {
    if (symbol === this.symbol) return;
    this.symbol = symbol;
    this.rows.clear();
    this.wholeAt = 0;
    this.#load();
  }

  /** Ask for the newest hours, which still move; now and then for all, of which a repair may have revised any. */
  async #load() {
    const { symbol } = this;
    if (!symbol) return;
    const whole = Date.now() - this.wholeAt > WHOLE_EVERY;
    const query = new URLSearchParams({ interval: "1h", limit: whole ? (DAYS + 1) * 24 : 2 });
    try {
      const answer = await fetch(`/ohlc/${encodeURIComponent(symbol)}?${query}`);
      if (!answer.ok) throw new Error(`${answer.status} for ${answer.url}`);
      const { candles } = parseExact(await answer.text());
      if (symbol !== this.symbol) return;
      if (whole) this.wholeAt = Date.now();
      for (const row of candles) this.rows.set(Date.parse(row.opened_at), row);
    } catch (error) {
      console.warn("hours could not be read:", error);
    }
    this.#show();
  }

  #show() {
    const measure = MEASURES[this.choice.querySelector("input:checked").value];
    const newest = Math.max(...this.rows.keys(), 0);
    const today = Math.floor((newest || Date.now()) / DAY) * DAY;
    const openings = [...Array(DAYS).keys()].map((day) => [...Array(24).keys()].map((hour) => today - day * DAY + hour * HOUR));
    const shades = shader(openings.flat().map((opened) => this.rows.get(opened)), measure);
    const rows = openings.map((day) => [dayName(day[0]), day.map((opened) => this.#cell(opened, measure, shades, newest))]);
    const columns = [...Array(24).keys()].map((hour) => String(hour).padStart(2, "0"));
    this.cells.explain(...(measure.diverging ? BOTH_WAYS : RISING));
    this.cells.show(columns, rows, this.rows.size ? measure.said : "No hour is held yet: the first appears with the first trade.");
  }

  #cell(opened, measure, shades, newest) {
    const row = this.rows.get(opened);
    const when = `${dayName(opened)} ${new Date(opened).toISOString().slice(11, 16)} UTC`;
    if (!row || row.close == null) return { kind: "none", told: `${when}: ${opened > newest ? "not over yet" : "nothing held"}` };
    return { step: shades(row), kind: row.state, told: `${when}: ${measure.tell(row)} (${row.state})` };
  }
}

/** Give the shade of a row: by its place among the others, so that one wild hour does not bleach the rest. */
function shader(rows, measure) {
  const sizes = rows.filter((row) => row?.close != null).map((row) => Math.abs(measure.of(row))).sort((left, right) => left - right);
  return (row) => {
    const value = measure.of(row);
    const place = sizes.findLastIndex((size) => size <= Math.abs(value)) / Math.max(sizes.length - 1, 1);
    const step = value === 0 ? 0 : Math.max(1, Math.ceil(place * STEPS));
    return measure.diverging && step ? `${value < 0 ? "down" : "up"}-${Math.ceil(step / 2)}` : String(step);
  };
}

function dayName(time) {
  return new Date(time).toLocaleDateString("en-GB", { weekday: "short", day: "numeric", month: "short", timeZone: "UTC" });
}

function signed(number) {
  return `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(2)}`;
}
