// What may be said of the data, in three verdicts: is it fresh, is it complete, is it verified?

import { count, grouped, span } from "./numbers.js";

const QUIET_FOR = 10; // a market that trades less often than this is slow, not broken

/** Show the health of one symbol; `waited` is how many seconds ago the message came. */
export function showHealth(health, symbol, waited, linkLost) {
  const of = health.symbols[symbol] ?? NOTHING_YET;
  show("fresh", linkLost ? unknown() : fresh(health, of, waited));
  show("complete", complete(of));
  show("verified", verified(of));
  showFacts(health, of, waited);
}

const NOTHING_YET = { last_trade_id: -1, freshness_seconds: null, checked_candles: 0, agreeing_candles: 0 };

/** What the banner must say: a level, a head and a text, or null when all is well. */
export function alarm(health) {
  const down = troubled(health);
  if (down) {
    const { name, source } = down;
    const why = source.last_error ? ` (${source.last_error})` : "";
    return { level: "bad", head: HEADS[source.state], text: `${MEANS[source.state](name)}${why}. Prices below are old. What is missed meanwhile is fetched by trade id.` };
  }
  if (health.status === "failing") return { level: "bad", head: "TROUBLE", text: health.reasons.join(" ") };
  return null;
}

const HEADS = { cut: "FEED CUT", silent: "FEED SILENT" };
const MEANS = {
  cut: (name) => `The connection to ${name} is down and is being reopened`,
  silent: (name) => `The connection to ${name} is open, but nothing comes`,
};

function troubled(health) {
  for (const [name, source] of Object.entries(health.sources)) {
    if (source.state in HEADS) return { name, source };
  }
  return null;
}

function fresh(health, of, waited) {
  const down = troubled(health);
  const age = of.freshness_seconds == null ? null : span(of.freshness_seconds + waited);
  if (down) {
    const state = down.source.state === "cut" ? "Feed cut" : "Feed silent";
    return { state: "bad", head: age ? `${state} · ${age} old` : state, text: "No new data comes from the exchange: this price is old." };
  }
  if (age === null) return { state: "waiting", head: "No trade yet", text: "Waiting for the first trade." };
  if (of.freshness_seconds + waited > QUIET_FOR) return { state: "warn", head: `${age} ago`, text: "The feed is connected; the last trade is a while ago." };
  return { state: "good", head: "Live", text: `The feed is connected; the last trade came ${age} ago.` };
}

function unknown() {
  return { state: "bad", head: "Unknown", text: "The Tapehouse server cannot be reached from this page." };
}

function complete(of) {
  if (of.last_trade_id < 0) return { state: "waiting", head: "–", text: "No trade is held yet." };
  if (of.missing_trades === 0) return { state: "good", head: "No trade missing", text: "Every id the exchange numbered since the first held trade is here, once." };
  return { state: "warn", head: `${count(of.missing_trades, "trade")} missing`, text: `In ${count(of.holes, "hole")}${outlook(of)}. The candles over them say gap.` };
}

/** What will become of missing trades: fetched, not to be had, or brought by a back-fill alone. */
function outlook({ missing_trades: missing, trades_not_offered: refused = 0, trades_left_to_backfill: far = 0 }) {
  const fetched = missing - refused - far;
  if (fetched === missing) return ", being fetched by id";
  const parts = [[fetched, "being fetched by id"], [refused, "not to be had from the exchange"], [far, "in holes of over a week: tapehouse backfill brings them"]];
  return `: ${parts.filter(([number]) => number > 0).map(([number, what]) => `${grouped(number)} ${what}`).join(", ")}`;
}

function verified({ checked_candles: checked, agreeing_candles: agreeing, uncompared_candles: uncompared }) {
  const differing = checked - agreeing;
  if (!checked) return { state: "waiting", head: "Nothing to compare yet", text: "Each whole minute is compared with the exchange’s own kline when it closes." };
  const awaited = uncompared ? ` ${grouped(uncompared)} more ${uncompared === 1 ? "waits" : "wait"} for the kline.` : "";
  const text = `${grouped(agreeing)} of ${grouped(checked)} closed candles equal the exchange’s own kline, field by field.${awaited}`;
  if (differing) return { state: "bad", head: `${count(differing, "candle")} ${differing === 1 ? "differs" : "differ"}`, text: `${text} Both versions are kept.` };
  return { state: "good", head: `${grouped(agreeing)} of ${grouped(checked)}`, text: `closed candles equal the exchange’s own kline, field by field.${awaited}` };
}

function show(name, { state, head, text }) {
  const verdict = document.getElementById(name);
  verdict.dataset.state = state;
  verdict.querySelector("strong").textContent = head;
  verdict.querySelector("dd > span").textContent = text;
}

function showFacts(health, of, waited) {
  const facts = [];
  for (const [name, source] of Object.entries(health.sources)) {
    if (source.kind === "polled") {
      facts.push([SOURCES[name] ?? name, polled(source, waited), source.connected && !source.stale ? "" : "old"]);
      continue;
    }
    facts.push([`Feed ${name}`, source.state]);
    if (source.lag_seconds != null) facts.push(["From trade to here", lag(source.lag_seconds)]);
    if (source.clock_offset_seconds != null) facts.push(["Clock offset", `${Math.round(source.clock_offset_seconds * 1000)} ms`]);
  }
  const age = health.commit.age_seconds;
  if (age != null) facts.push(["Last commit", `${span(age + waited)} ago`]);
  if (of.windows_overdue) facts.push(["Over and not proved", count(of.windows_overdue, "window")]);
  const list = document.getElementById("facts");
  list.replaceChildren(...facts.flatMap(([name, value, state]) => [element("dt", name), element("dd", value, state)]));
}

const SOURCES = { coingecko: "CoinGecko", fear_greed: "Fear & Greed", rss: "News feeds", newsapi: "NewsAPI" };

/** How old what an upstream told is; one that does not answer is named as what it is, stale addresses are counted. */
function polled(source, waited) {
  const age = source.freshness_seconds == null ? "nothing yet" : `${span(source.freshness_seconds + waited)} ago`;
  if (source.connected) return source.stale ? `${age} · ${count(source.stale, "address", "addresses")} stale` : age;
  return `${source.state.replace("_", " ")} · ${age}`;
}

/** A lag below zero only says that the clocks are not known that well. */
function lag(seconds) {
  return seconds < 0 ? "within clock error" : `${Math.round(seconds * 1000)} ms`;
}

function element(tag, text, state = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.dataset.state = state;
  return made;
}
