// Why a signal was raised: what was seen, in words, and every number it was made from.

import { element } from "./element.js";
import { KINDS, STATES, kindOf, stateOf } from "./kinds.js";
import { grouped, minuteTime } from "./numbers.js";

export class Evidence {
  /** `panel` is shown over the chart. */
  constructor(panel) {
    this.panel = panel;
    this.signals = [];
    panel.addEventListener("keydown", (event) => event.key === "Escape" && this.hide());
    panel.addEventListener("click", (event) => event.target.closest(".close") && this.hide());
  }

  /** Show signals of one window, on the right or left; the focus comes here, and goes back to `from` afterwards. */
  show(signals, from, atRight) {
    this.panel.dataset.side = atRight ? "right" : "left";
    this.signals = signals;
    this.from = from;
    this.#fill();
    this.panel.hidden = false;
    this.panel.scrollIntoView({ block: "nearest" });
    this.panel.querySelector(".close").focus({ preventScroll: true });
  }

  /** Show what is known of the same signals now; `current(signal)` gives it, or nothing where one is forgotten. */
  refresh(current) {
    if (this.panel.hidden) return;
    const now = this.signals.map((signal) => current(signal) ?? { ...signal, state: "retracted" });
    if (now.every((signal, place) => signal === this.signals[place])) return;
    this.signals = now;
    const focused = this.panel.contains(document.activeElement);
    this.#fill();
    if (focused) this.panel.querySelector(".close").focus({ preventScroll: true });
  }

  hide() {
    if (this.panel.hidden) return;
    this.panel.hidden = true;
    if (this.from?.isConnected) this.from.focus();
  }

  #fill() {
    const shut = element("button", "×", "close");
    Object.assign(shut, { type: "button", ariaLabel: "Close" });
    this.panel.replaceChildren(shut, ...this.signals.map(article));
  }
}

function article(signal) {
  const state = stateOf(signal);
  const made = document.createElement("article");
  const head = document.createElement("header");
  const chip = element("span", state, "state");
  chip.dataset.state = state;
  head.append(element("h3", kindOf(signal).name), chip);
  const about = signal.symbol === "*" ? "The whole market" : signal.symbol;
  made.append(head, element("p", `${about}, ${signal.interval} from ${minuteTime(signal.opened_at)} UTC`, "when"));
  if (Object.keys(signal.evidence).length) made.append(element("p", kindOf(signal).tell(signal.evidence), "seen"));
  made.append(element("p", score(signal), "score"), element("p", `${capital(state)}: ${STATES[state] ?? ""}.`, "trust"), numbers(signal));
  return made;
}

function score({ kind, score: value }) {
  const number = Math.abs(value).toFixed(2);
  if (kind === "volatility_regime") return `Score ${value < 0 ? "−" : "+"}${number}: so many doublings of the usual volatility.`;
  if (kind === "sentiment_extreme") return `Score ${value < 0 ? "−" : "+"}${number}: tenths of the scale from its middle.`;
  return `Score ${value < 0 ? "−" : "+"}${number}: so many robust deviations from what was usual before.`;
}

function numbers(signal) {
  const facts = Object.entries(signal.evidence);
  if (signal.revision > 0) facts.push(["revision", signal.revision], ["known_at", signal.known_at]);
  const list = document.createElement("dl");
  for (const [name, value] of facts) list.append(element("dt", name.replaceAll("_", " ")), element("dd", said(value)));
  const made = document.createElement("details");
  made.open = !(signal.kind in KINDS);
  made.append(element("summary", "The numbers"), list);
  return made;
}

function said(value) {
  if (value == null) return "–";
  if (Number.isInteger(value)) return grouped(value);
  return /^\d{4}-\d\d-\d\dT/.test(value) ? String(value).replace("T", " ").replace("Z", "") : String(value);
}

function capital(word) {
  return word[0].toUpperCase() + word.slice(1);
}
