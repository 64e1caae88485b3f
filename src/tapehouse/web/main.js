// The page: what is chosen, what comes over the socket, and where it is shown.

import { showCandle } from "./candle.js";
import { Chart } from "./chart.js";
import { Coverage } from "./coverage.js";
import { alarm, showHealth } from "./health.js";
import { Live } from "./live.js";
import { Market } from "./market.js";
import { Mood } from "./mood.js";
import { News } from "./news.js";
import { changeBetween, grouped, padded, parseExact } from "./numbers.js";
import { Symbols } from "./symbols.js";
import { Tape } from "./tape.js";

const PAGE_OF_HISTORY = 500;
const at = (id) => document.getElementById(id);

const chosen = { symbol: localStorage.getItem("symbol"), interval: localStorage.getItem("interval") ?? "1m" };
const prices = new Map();
let health = null;
let healthAt = 0;
let link = { state: "waiting", detail: "" };
let fetchingOlder = false;
let oldestReached = false;

const tape = new Tape(at("tape"), at("rate"));
const chart = new Chart(at("chart"), { hover: (row, stories, atRight) => showCandle(at("candle"), row, stories, atRight), older: fetchOlder });
const news = new News({ list: at("news"), note: at("news-note"), only: at("news-only") }, (stories) => chart.tell(stories));
const mood = new Mood({ gauge: at("gauge"), line: at("mood-line"), value: at("mood-value"), word: at("mood-word"), since: at("mood-day") });
const market = new Market(at("figures"));
const coverage = new Coverage(at("coverage-bar"), at("coverage-first"), at("coverage-last"));
const symbols = new Symbols(at("symbols"), at("finder"), (symbol) => choose({ symbol }));
const live = new Live(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`, { message: receive, link: showLink });

const receivers = {
  hello: greet,
  snapshot: takeSnapshot,
  catch_up: catchUp,
  candles: (message) => ofChosen(message) && message.interval === chosen.interval && message.candles.forEach((row) => chart.update(row)),
  trades: (message) => ofChosen(message) && tape.add(message.trades, message.skipped),
  prices: (message) => message.prices.forEach(showPrice),
  health: takeHealth,
  market: (message) => market.take(message),
  sentiment: (message) => mood.add(message.sentiment),
  news: (message) => news.add(message.news),
  error: (message) => console.error(message.title, message.detail),
};

function receive(message) {
  receivers[message.type]?.(message);
}

function ofChosen(message) {
  return message.symbol === chosen.symbol;
}

function greet(message) {
  if (!message.symbols.includes(chosen.symbol)) chosen.symbol = message.symbols[0] ?? null;
  symbols.show(message.symbols, chosen.symbol);
  showIntervals(message.intervals);
  prices.forEach(showPrice);
  subscribe();
}

function choose(choice) {
  Object.assign(chosen, choice);
  if (!symbols.names.includes(chosen.symbol)) return;
  for (const name of ["symbol", "interval"]) localStorage.setItem(name, chosen[name]);
  symbols.show(symbols.names, chosen.symbol);
  for (const button of at("intervals").children) check(button, button.value === chosen.interval);
  prices.forEach(showPrice);
  subscribe();
}

function subscribe() {
  if (!chosen.symbol) return;
  at("symbol").textContent = chosen.symbol;
  document.title = `${chosen.symbol} · Tapehouse`;
  live.subscribe({ symbols: [chosen.symbol], interval: chosen.interval, channels: ["candles", "trades", "prices", "health", "market", "sentiment", "news"] });
  news.choose(chosen.symbol);
  market.choose(chosen.symbol);
  showState();
}

function takeSnapshot(message) {
  if (message.interval !== chosen.interval || !(chosen.symbol in message.candles)) return;
  oldestReached = false;
  chart.replace(message.candles[chosen.symbol]);
  tape.clear();
  tape.add(message.trades[chosen.symbol] ?? [], 0, false);
  at("chart-note").hidden = chart.newest !== null;
}

function catchUp(message) {
  for (const row of message.candles[chosen.symbol] ?? []) chart.update(row);
  tape.add(message.trades[chosen.symbol] ?? []);
}

async function fetchOlder() {
  if (fetchingOlder || oldestReached) return;
  fetchingOlder = true;
  const { symbol, interval } = chosen;
  const query = new URLSearchParams({ interval, end: chart.oldest, limit: PAGE_OF_HISTORY });
  try {
    const answer = await fetch(`/ohlc/${encodeURIComponent(symbol)}?${query}`);
    if (!answer.ok) throw new Error(`${answer.status} for ${answer.url}`);
    const { candles } = parseExact(await answer.text());
    if (symbol !== chosen.symbol || interval !== chosen.interval) return;
    oldestReached = candles.length === 0;
    if (candles.length) chart.merge(candles);
  } catch (error) {
    oldestReached = true;
    console.error("older candles could not be read:", error);
  } finally {
    fetchingOlder = false;
  }
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
  coverage.refresh(chosen.symbol, health.symbols[chosen.symbol]?.missing_trades);
  showState();
}

function showLink(state, detail) {
  if (link.state === state && link.detail === detail) return;
  link = { state, detail };
  showState();
}

const LINK_TEXTS = { waiting: "Connecting", live: "Live", silent: "Server silent", lost: "Connection lost" };

function showState() {
  const lost = link.state === "lost" || link.state === "silent";
  const cut = health && alarm(health);
  at("link").dataset.state = lost || cut ? "lost" : link.state;
  at("link").textContent = !lost && cut ? cut.head : LINK_TEXTS[link.state];
  showAlarm(lost ? serverLost() : cut);
  if (health) showHealth(health, chosen.symbol, (performance.now() - healthAt) / 1000, lost);
}

function serverLost() {
  const why = link.detail ? ` (${link.detail})` : "";
  return { level: "bad", head: "CONNECTION LOST", text: `This page cannot hear the Tapehouse server${why}. What is shown is old. Reconnecting; the page catches up by itself.` };
}

function showAlarm(alarming) {
  const banner = at("alarm");
  banner.hidden = !alarming;
  if (!alarming || banner.dataset.said === alarming.head + alarming.text) return;
  banner.dataset.said = alarming.head + alarming.text;
  banner.dataset.level = alarming.level;
  const head = document.createElement("strong");
  head.textContent = alarming.head;
  banner.replaceChildren(head, alarming.text);
}

function showIntervals(intervals) {
  at("intervals").replaceChildren(...intervals.map((interval) => {
    const button = document.createElement("button");
    button.type = "button";
    button.value = interval;
    button.textContent = interval;
    check(button, interval === chosen.interval);
    button.addEventListener("click", () => choose({ interval }));
    return button;
  }));
}

function check(button, checked) {
  button.ariaPressed = String(checked);
}

setInterval(() => {
  tape.showRate();
  showState();
}, 500);
