// The page: what is chosen, what comes over the socket, and where it is shown.

import { showCandle } from "./candle.js";
import { Chart } from "./chart.js";
import { Chooser } from "./chooser.js";
import { Correlations } from "./correlations.js";
import { Coverage } from "./coverage.js";
import { Evidence } from "./evidence.js";
import { showHealth } from "./health.js";
import { Hours } from "./hours.js";
import { Intervals } from "./intervals.js";
import { showLegend } from "./legend.js";
import { Link } from "./link.js";
import { Live } from "./live.js";
import { Market } from "./market.js";
import { Mood } from "./mood.js";
import { learnBases, News } from "./news.js";
import { changeBetween, grouped, padded, seconds } from "./numbers.js";
import { Overlays } from "./overlays.js";
import { Past } from "./past.js";
import { Signals } from "./signals.js";
import { Symbols } from "./symbols.js";
import { Tape } from "./tape.js";

const at = (id) => document.getElementById(id);

const chosen = { symbol: localStorage.getItem("symbol"), interval: localStorage.getItem("interval") ?? "1m" };
const prices = new Map();
let health = null;
let healthAt = 0;
let pointed = null;

const tape = new Tape(at("tape"), at("rate"));
const link = new Link(at("link"), at("alarm"));
const chart = new Chart(at("chart"), { hover: showPointed, older: () => past.fetch(chosen, chart.oldest), pick: (picked) => explain(picked, at("chart")) });
const overlays = new Overlays(chart.chart, showOverlays);
const past = new Past((candles) => {
  chart.merge(candles);
  overlays.show(chosen.symbol, chosen.interval, chart.times.length);
});
const evidence = new Evidence(at("evidence"));
const signals = new Signals({ list: at("signals"), note: at("signals-note"), tally: at("signals-tally") }, { changed: showSignals, pick: (signal, from) => explain([signal], from) });
const hours = new Hours({ table: at("hours"), note: at("hours-note"), choice: at("hours-choice") });
const correlations = new Correlations({ table: at("correlations"), note: at("correlations-note"), choice: at("correlations-choice") });
const news = new News({ list: at("news"), note: at("news-note"), only: at("news-only") }, (stories) => chart.tell(stories));
const mood = new Mood({ gauge: at("gauge"), line: at("mood-line"), value: at("mood-value"), word: at("mood-word"), since: at("mood-day") });
const market = new Market(at("figures"));
const coverage = new Coverage(at("coverage-bar"), at("coverage-first"), at("coverage-last"));
const symbols = new Symbols(at("symbols"), at("finder"), (symbol) => choose({ symbol }));
const intervals = new Intervals(at("intervals"), (interval) => choose({ interval }));
const live = new Live(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`, { message: receive, link: showLink });

const receivers = {
  hello: greet,
  snapshot: takeSnapshot,
  catch_up: catchUp,
  candles: (message) => ofChosen(message) && message.interval === chosen.interval && message.candles.forEach(showRow),
  trades: (message) => ofChosen(message) && tape.add(message.trades, message.skipped),
  prices: (message) => message.prices.forEach(showPrice),
  health: takeHealth,
  market: (message) => market.take(message),
  sentiment: (message) => mood.add(message.sentiment),
  news: (message) => news.add(message.news),
  signals: (message) => signals.add(message.signals),
  error: (message) => console.error(message.title, message.detail),
};

function receive(message) {
  receivers[message.type]?.(message);
}

function ofChosen(message) {
  return message.symbol === chosen.symbol;
}

function greet(message) {
  learnBases(message.bases);
  if (!message.symbols.includes(chosen.symbol)) chosen.symbol = message.symbols[0] ?? null;
  symbols.show(message.symbols, chosen.symbol);
  intervals.show(message.intervals, chosen.interval);
  prices.forEach(showPrice);
  subscribe();
}

function choose(choice) {
  Object.assign(chosen, choice);
  if (!symbols.names.includes(chosen.symbol)) return;
  for (const name of ["symbol", "interval"]) localStorage.setItem(name, chosen[name]);
  symbols.show(symbols.names, chosen.symbol);
  intervals.check(chosen.interval);
  prices.forEach(showPrice);
  subscribe();
}

function subscribe() {
  if (!chosen.symbol) return;
  at("symbol").textContent = chosen.symbol;
  document.title = `${chosen.symbol} · Tapehouse`;
  live.subscribe({ symbols: [chosen.symbol], interval: chosen.interval, channels: ["candles", "trades", "prices", "health", "market", "sentiment", "news", "signals"] });
  news.choose(chosen.symbol);
  signals.choose(chosen.symbol);
  market.choose(chosen.symbol);
  hours.choose(chosen.symbol);
  correlations.choose(chosen.symbol, symbols.names);
  showState();
}

function takeSnapshot(message) {
  if (message.interval !== chosen.interval || !(chosen.symbol in message.candles)) return;
  past.begin();
  chart.replace(message.candles[chosen.symbol]);
  overlays.show(chosen.symbol, chosen.interval, chart.times.length);
  tape.clear();
  tape.add(message.trades[chosen.symbol] ?? [], 0, false);
  at("chart-note").hidden = chart.newest !== null;
}

function catchUp(message) {
  for (const row of message.candles[chosen.symbol] ?? []) showRow(row);
  tape.add(message.trades[chosen.symbol] ?? []);
}

function showRow(row) {
  overlays.touch(chart.isOlder(row));
  chart.update(row);
}

/** Tell of the candle under the pointer, and what the indicators are there. */
function showPointed(time, row, stories, atRight) {
  pointed = time;
  showCandle(at("candle"), row, stories, atRight);
  showOverlays();
}

function showOverlays() {
  showLegend(at("overlays"), overlays.at(pointed), chart.places);
}

function showSignals() {
  chart.signal(signals.marked(chosen.interval));
  evidence.refresh((signal) => signals.current(signal));
}

/** Show why signals of a window were raised, beside its candle where this interval has it. */
function explain(picked, from) {
  const time = picked[0].interval === chosen.interval ? seconds(picked[0].opened_at) : null;
  chart.look(time);
  evidence.show(picked, from, time === null || chart.isLeft(time));
}

function showPrice(entry) {
  const before = prices.get(entry.symbol);
  prices.set(entry.symbol, entry);
  symbols.price(entry);
  at("chart-note").hidden = chart.newest !== null;
  if (entry.symbol !== chosen.symbol) return;
  const change = changeBetween(entry.day_open, entry.price);
  at("price").textContent = padded(entry.price, 2);
  at("price").dataset.way = before ? changeBetween(before.price, entry.price)?.way : "flat";
  at("change").textContent = change ? `${change.text} today` : "";
  at("change").title = `since ${entry.day_open == null ? "–" : grouped(entry.day_open)}, the first trade held since 00:00 UTC`;
  at("change").dataset.way = change?.way ?? "flat";
}

function takeHealth(message) {
  health = message;
  healthAt = performance.now();
  coverage.refresh(chosen.symbol, health.symbols[chosen.symbol]?.missing_trades ?? 0);
  showState();
}

function showLink(state, detail) {
  if (link.take(state, detail)) showState();
}

function showState() {
  link.show(health);
  if (health) showHealth(health, chosen.symbol, (performance.now() - healthAt) / 1000, link.lost);
}

new Chooser(at("chooser"), (indicators) => overlays.choose(indicators));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => overlays.paint());

setInterval(() => {
  tape.showRate();
  showState();
}, 500);
