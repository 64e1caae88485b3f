// The candle chart. Floats live here and only here: they place pixels; what is read as text stays text.

import { CandlestickSeries, HistogramSeries, createChart } from "/web/vendor/lightweight-charts.js";
import { GapBands } from "./gaps.js";
import { Markers } from "./markers.js";
import { decimalsOf, seconds } from "./numbers.js";

const OLDER_WITHIN = 30; // fetch history when this few candles are left of the view
const SHOWN_FIRST = 120;

export class Chart {
  /** `on.hover(time, row, stories, atRight)` gets the candle under the pointer or nulls, and the stories of its time; `on.older()` asks for history; `on.pick(signals)` gets those of a candle that was chosen. */
  constructor(container, on) {
    this.container = container;
    this.on = on;
    this.chart = createChart(container, { autoSize: true, layout: { attributionLogo: false } }); // its notice stands in the footer; its style element would break the CSP
    this.candles = this.chart.addSeries(CandlestickSeries, {});
    this.volume = this.chart.addSeries(HistogramSeries, { priceScaleId: "", priceFormat: { type: "volume" }, lastValueVisible: false, priceLineVisible: false });
    this.volume.priceScale().applyOptions({ scaleMargins: { top: 0.86, bottom: 0 } });
    this.markers = new Markers(this.candles);
    this.gaps = new GapBands();
    this.candles.attachPrimitive(this.gaps);
    this.clear();
    this.#listen();
    this.paint();
  }

  #listen() {
    this.chart.subscribeCrosshairMove((at) => this.#hover(at));
    this.chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
      if (range && this.times.length && range.from < OLDER_WITHIN) this.on.older();
    });
    this.chart.subscribeClick((at) => this.#pick(at.time));
    this.container.addEventListener("keydown", (event) => this.#walk(event));
    this.container.addEventListener("blur", () => this.#leave());
    this.container.addEventListener("pointermove", () => (this.walking = null));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
  }

  clear() {
    this.rows = new Map();
    this.times = [];
    this.walking = null;
    this.shown = null;
    this.places = 2;
    this.#redraw();
  }

  get oldest() {
    return this.times.length ? this.rows.get(this.times[0]).opened_at : null;
  }

  get newest() {
    return this.times.length ? this.rows.get(this.times.at(-1)) : null;
  }

  /** Take rows in place of all there are, and look at the newest of them. */
  replace(rows) {
    this.clear();
    this.merge(rows);
    const last = this.times.length;
    this.chart.timeScale().setVisibleLogicalRange({ from: last - this.#fitting(), to: last + 3 });
  }

  #fitting() {
    const room = Math.min(SHOWN_FIRST, Math.floor(this.container.clientWidth / 8));
    return Math.min(room, Math.max(this.times.length, 40));
  }

  /** Take many rows, in place of those of the same window. */
  merge(rows) {
    rows.forEach((row) => this.#keep(row));
    this.times = [...this.rows.keys()].sort((left, right) => left - right);
    this.#redraw();
  }

  /** Whether a row changes what lies before the newest candle. */
  isOlder(row) {
    return this.times.length > 0 && seconds(row.opened_at) < this.times.at(-1);
  }

  /** Take one changed candle; cheap when it is the newest. */
  update(row) {
    const time = seconds(row.opened_at);
    const known = this.rows.get(time);
    if (known && known.revision > row.revision && row.state !== "open") return;
    if (!known && time < (this.times.at(-1) ?? 0)) return this.merge([row]);
    this.#keep(row);
    if (!known) this.times.push(time);
    const past = time < this.times.at(-1);
    this.candles.update(this.#candle(time), past);
    this.volume.update(this.#bar(time), past);
    if (past || !known || row.state !== known.state) this.#mark();
    if (time === this.shown) this.#show(time);
  }

  /** Mark when stories were published; oldest first. */
  tell(stories) {
    this.markers.stories = stories;
    this.#mark();
    if (this.shown !== null) this.#show(this.shown);
  }

  /** Mark the windows that have signals, by opening time. */
  signal(byTime) {
    this.markers.signals = byTime;
    this.#mark();
  }

  /** Bring the candle of a time into view, if there is one. */
  look(time) {
    const place = this.times.indexOf(time);
    const seen = this.chart.timeScale().getVisibleLogicalRange();
    if (place < 0 || !seen || (place >= seen.from && place <= seen.to)) return;
    const half = (seen.to - seen.from) / 2;
    this.chart.timeScale().setVisibleLogicalRange({ from: place - half, to: place + half });
  }

  /** Whether what stands at a time is in the left half; what is not shown is not. */
  isLeft(time) {
    return (this.chart.timeScale().timeToCoordinate(time) ?? Infinity) < this.container.clientWidth / 2;
  }

  #keep(row) {
    this.rows.set(seconds(row.opened_at), row);
    if (row.close != null) this.#widen(decimalsOf(row.close));
  }

  #widen(places) {
    if (places <= this.places && this.precise === this.places) return;
    this.places = Math.max(places, this.places);
    this.precise = this.places;
    this.candles.applyOptions({ priceFormat: { type: "price", precision: this.places, minMove: 10 ** -this.places } });
  }

  #redraw() {
    this.candles.setData(this.times.map((time) => this.#candle(time)));
    this.volume.setData(this.times.map((time) => this.#bar(time)));
    this.#mark();
  }

  #mark() {
    this.markers.show(this.times, this.rows, this.colours);
    this.gaps.show(this.times.filter((time) => this.rows.get(time).state === "gap"));
  }

  #candle(time) {
    const row = this.rows.get(time);
    if (row.close == null) return { time };
    const [open, high, low, close] = [row.open, row.high, row.low, row.close].map(Number);
    return { time, open, high, low, close, ...this.#look(row, close >= open) };
  }

  #look(row, rose) {
    const { up, down, gap, faint } = this.colours ?? {};
    const way = rose ? up : down;
    if (row.state === "open") return { color: "transparent", borderColor: way, wickColor: way };
    if (row.state === "gap") return { color: "transparent", borderColor: gap, wickColor: gap };
    if (row.state === "quiet") return { color: faint, borderColor: faint, wickColor: faint };
    return { color: way, borderColor: way, wickColor: way };
  }

  #bar(time) {
    const row = this.rows.get(time);
    if (row.close == null) return { time };
    const rose = Number(row.close) >= Number(row.open);
    return { time, value: Number(row.volume), color: rose ? this.colours?.["up-volume"] : this.colours?.["down-volume"] };
  }

  /** Read the colours of the scheme in force. */
  paint() {
    const style = getComputedStyle(document.documentElement);
    const names = ["text", "soft", "faint", "grid", "line", "raised", "up", "down", "gap", "gap-band", "revised", "story", "signal", "up-volume", "down-volume"];
    this.colours = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    const { soft, grid, line, faint, raised } = this.colours;
    this.chart.applyOptions({
      layout: { panes: { separatorColor: line, separatorHoverColor: faint }, background: { color: "transparent" }, textColor: soft, fontSize: 11, fontFamily: style.getPropertyValue("--sans") },
      grid: { vertLines: { color: grid }, horzLines: { color: grid } },
      rightPriceScale: { borderColor: line, scaleMargins: { top: 0.08, bottom: 0.2 } },
      timeScale: { borderColor: line, timeVisible: true, secondsVisible: false, rightOffset: 4, minBarSpacing: 1 },
      crosshair: { mode: 0, vertLine: { color: faint, labelBackgroundColor: faint }, horzLine: { color: faint, labelBackgroundColor: faint } },
    });
    this.candles.applyOptions({ upColor: this.colours.up, downColor: this.colours.down, priceLineColor: faint, priceLineStyle: 1 });
    this.gaps.colours = { band: this.colours["gap-band"], hatch: this.colours.gap, ground: raised };
    this.#redraw();
  }

  #hover(at) {
    if (this.walking === null) this.#show(this.rows.has(at.time) ? at.time : null);
  }

  /** Tell which candle is looked at; `time` null for none. */
  #show(time) {
    this.shown = time;
    const stories = time === null ? [] : this.markers.storiesByCandle(this.times, this.rows).get(time) ?? [];
    this.on.hover(time, time === null ? null : this.rows.get(time), stories, time !== null && this.isLeft(time));
  }

  #pick(time) {
    const signals = this.markers.signals.get(time);
    if (signals) this.on.pick(signals);
  }

  #walk(event) {
    if (event.key === "Escape") return this.#leave();
    if (event.key === "Enter" && this.walking !== null) return this.#pick(this.times[this.walking]);
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !this.times.length) return;
    event.preventDefault();
    const last = this.times.length - 1;
    this.walking = Math.min(last, Math.max(0, (this.walking ?? last + 1) + step));
    const time = this.times[this.walking];
    this.chart.setCrosshairPosition(Number(this.rows.get(time).close ?? 0), time, this.candles);
    this.#show(time);
  }

  #leave() {
    this.walking = null;
    this.chart.clearCrosshairPosition();
    this.#show(null);
  }
}
