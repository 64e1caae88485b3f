// Everything one candle says of itself, in every digit.

import { element } from "./element.js";
import { grouped, minuteTime } from "./numbers.js";

const MEANS = {
  open: "still filling",
  closed: "whole: every trade id is held",
  final: "whole, and the watermark has passed",
  gap: "trade ids are missing",
  quiet: "proved: no trade happened",
};

const FIELDS = [
  ["Open", "open"], ["High", "high"], ["Low", "low"], ["Close", "close"],
  ["Volume", "volume"], ["Quote volume", "quote_volume"], ["VWAP", "vwap"], ["Trades", "trades"],
  ["Taker bought", "taker_buy_volume"], ["Taker bought, quote", "taker_buy_quote_volume"],
  ["First id", "first_trade_id"], ["Last id", "last_trade_id"], ["Revision", "revision"],
];

const MOST_STORIES = 3;

/** Fill the panel with a candle and the stories of its time, or hide it; `atRight` puts it out of the pointer's way. */
export function showCandle(panel, row, stories, atRight) {
  panel.hidden = !row;
  if (!row) return;
  panel.dataset.side = atRight ? "right" : "left";
  panel.replaceChildren(head(row), list(row), ...stories.slice(-MOST_STORIES).map((story) => headline(story)));
}

function head(row) {
  const state = element("span", row.state);
  state.className = "state";
  state.dataset.state = row.state;
  state.title = MEANS[row.state] ?? "";
  const made = document.createElement("header");
  made.append(element("time", minuteTime(row.opened_at)), state);
  return made;
}

function list(row) {
  const made = document.createElement("dl");
  made.setAttribute("aria-live", "polite");
  for (const [name, field] of FIELDS) made.append(element("dt", name), exact(field, row[field]));
  made.append(element("dt", "Known at"), element("dd", row.known_at ? row.known_at.slice(0, 19).replace("T", " ") : "now"));
  made.append(element("dt", "State"), element("dd", MEANS[row.state] ?? row.state));
  return made;
}

function headline(story) {
  const made = element("p", `${story.observed_at.slice(11, 16)} ${story.title}`);
  made.className = "headline";
  return made;
}

function exact(field, value) {
  const made = element("dd", value == null ? "–" : grouped(value));
  made.dataset.field = field;
  return made;
}
