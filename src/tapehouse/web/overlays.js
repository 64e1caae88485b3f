// Indicators on the chart: lines over the price, and panes of their own below it. Values come from the server; what
// moves is asked for again while the newest candle does.

import { HistogramSeries, LineSeries } from "/web/vendor/lightweight-charts.js";
import { fetchIndicators } from "./indicators.js";
import { seconds } from "./numbers.js";

const FOLLOW_EVERY = 1000;
const RELOAD_EVERY = 5000; // after a correction of an older candle
const NEWEST = 3; // windows that are asked for while the newest one moves
const DASHES = { dotted: 1, dashed: 2, large: 3 };
const PANE_SHARE = 0.24; // of the height of the price's pane

export class Overlays {
  /** `changed()` is called when there is something new to read in a legend. */
  constructor(chart, changed) {
    this.chart = chart;
    this.changed = changed;
    this.chosen = [];
    this.series = new Map();
    this.levels = [];
    this.values = new Map();
    this.of = { symbol: "", interval: "" };
    this.count = 0;
    this.asked = 0;
    setInterval(() => this.#follow(), FOLLOW_EVERY);
  }

  /** Draw these indicators and no others. */
  choose(chosen) {
    this.chosen = chosen;
    this.#clear();
    const panes = [...new Set(chosen.map(({ pane }) => pane).filter((pane) => pane !== "price"))];
    for (const indicator of chosen) this.#add(indicator, 1 + panes.indexOf(indicator.pane));
    this.chart.panes().forEach((pane, place) => pane.setStretchFactor(place ? PANE_SHARE : 1));
    this.paint();
    this.load();
  }

  /** Show another symbol or interval, of which the chart has so many candles. */
  show(symbol, interval, count) {
    const same = this.of.symbol === symbol && this.of.interval === interval;
    this.of = { symbol, interval };
    this.count = count;
    if (!same) this.#forget();
    this.load();
  }

  /** Take note that candles changed: the newest, or older ones too. */
  touch(older) {
    this.moved = true;
    this.corrected ||= older;
  }

  /** The values at a time, or the newest there are: `[[indicator, [[line, value], ...]], ...]`. */
  at(time) {
    const values = this.values.get(time) ?? this.values.get(this.newest) ?? {};
    return this.chosen.map((indicator) => [indicator, indicator.lines.map((line) => [line, values[line.field] ?? null])]);
  }

  /** Read the colours of the scheme in force. */
  paint() {
    const style = getComputedStyle(document.documentElement);
    this.colours = (name) => style.getPropertyValue(`--${name}`).trim();
    for (const [line, series] of this.series) {
      if (line.kind !== "histogram") series.applyOptions({ color: this.colours(line.colour) });
    }
    for (const level of this.levels) level.applyOptions({ color: this.colours("faint") });
    this.#draw();
  }

  /** Ask for every window the chart has. */
  async load() {
    if (!this.chosen.length || !this.of.symbol || !this.count) return this.changed();
    const loaded = performance.now();
    this.loadedAt = loaded;
    await this.#ask(this.count, () => loaded === this.loadedAt && this.values.clear());
    this.#draw();
  }

  async #follow() {
    if (!this.moved || document.hidden || !this.chosen.length || this.asked) return;
    this.moved = false;
    if ((this.corrected || !this.values.size) && performance.now() - this.loadedAt > RELOAD_EVERY) {
      this.corrected = false;
      return this.load();
    }
    const fresh = await this.#ask(NEWEST);
    for (const [line, series] of this.series) fresh.forEach((time) => series.update(this.#point(line, time), time < this.newest));
  }

  /** Ask for the last `limit` windows; returns the times that were told. An answer about something else is let go. */
  async #ask(limit, before = () => {}) {
    const { of, chosen } = this;
    this.asked += 1;
    try {
      const windows = await fetchIndicators(of.symbol, of.interval, chosen, limit);
      if (of !== this.of || chosen !== this.chosen) return [];
      before();
      for (const window of windows) this.values.set(seconds(window.opened_at), window);
      this.newest = Math.max(...this.values.keys());
      this.changed();
      return windows.map((window) => seconds(window.opened_at));
    } catch (error) {
      console.warn("indicators could not be read:", error);
      return [];
    } finally {
      this.asked -= 1;
    }
  }

  #add(indicator, pane) {
    for (const line of indicator.lines) {
      const shared = { priceLineVisible: false, lastValueVisible: indicator.pane !== "price" && line.kind !== "histogram", crosshairMarkerVisible: false, priceScaleId: "right" };
      const made = line.kind === "histogram"
        ? this.chart.addSeries(HistogramSeries, { ...shared, base: 0 }, pane)
        : this.chart.addSeries(LineSeries, { ...shared, lineWidth: line.width, lineStyle: DASHES[line.dash] ?? 0 }, pane);
      this.series.set(line, made);
    }
    const first = this.series.get(indicator.lines[0]);
    for (const price of indicator.levels ?? []) {
      this.levels.push(first.createPriceLine({ price, lineWidth: 1, lineStyle: 1, axisLabelVisible: false, title: "" }));
    }
  }

  #clear() {
    for (const series of this.series.values()) this.chart.removeSeries(series);
    this.series.clear();
    this.levels = [];
    this.#forget();
  }

  #forget() {
    this.values.clear();
    this.newest = 0;
    this.#draw();
    this.changed();
  }

  #draw() {
    const times = [...this.values.keys()].sort((left, right) => left - right);
    for (const [line, series] of this.series) series.setData(times.map((time) => this.#point(line, time)));
  }

  #point(line, time) {
    const value = this.values.get(time)[line.field];
    if (value == null) return { time };
    if (line.kind !== "histogram") return { time, value };
    return { time, value, color: this.colours(value < 0 ? "down-volume" : "up-volume") };
  }
}
