// Which indicators are drawn: a list to tick, opened from a button, kept for the next visit.

import { INDICATORS } from "./indicators.js";

const KEPT = "indicators";
const FIRST = "ema"; // on a first visit

export class Chooser {
  /** `details` is the element that opens; `choose(indicators)` gets those that are ticked, in the order of INDICATORS. */
  constructor(details, choose) {
    this.details = details;
    this.choose = choose;
    const chosen = new Set((localStorage.getItem(KEPT) ?? FIRST).split(","));
    details.querySelector("fieldset").append(...INDICATORS.map((indicator) => option(indicator, chosen.has(indicator.name))));
    details.addEventListener("change", () => this.#changed());
    details.addEventListener("keydown", (event) => event.key === "Escape" && this.#close());
    document.addEventListener("pointerdown", (event) => details.contains(event.target) || (details.open = false));
    this.#changed();
  }

  #changed() {
    const ticked = new Set([...this.details.querySelectorAll("input:checked")].map(({ value }) => value));
    localStorage.setItem(KEPT, [...ticked].join(","));
    this.details.querySelector("summary").dataset.count = ticked.size || "";
    this.choose(INDICATORS.filter(({ name }) => ticked.has(name)));
  }

  #close() {
    this.details.open = false;
    this.details.querySelector("summary").focus();
  }
}

function option(indicator, checked) {
  const box = document.createElement("input");
  Object.assign(box, { type: "checkbox", value: indicator.name, checked });
  const about = document.createElement("small");
  about.textContent = indicator.about;
  const made = document.createElement("label");
  made.append(box, indicator.label, about);
  return made;
}
