// The bar of trade ids: what is held and what is missing, from /coverage.

import { count, grouped } from "./numbers.js";

const SVG = "http://www.w3.org/2000/svg";
const SOONEST = 3000;
const LATEST = 30_000;

export class Coverage {
  constructor(bar, first, last) {
    this.places = { bar, first, last };
    this.symbol = null;
    this.shown = null;
    this.askedAt = -LATEST;
  }

  /**
   * Keep the bar true: asked again while it does not show as many missing ids as there are, and now and then. What the
   * answer is made from is committed a moment later than `missing` is told, so one answer may still be the old one.
   */
  async refresh(symbol, missing) {
    const waited = performance.now() - this.askedAt;
    const differs = missing !== this.shown && waited > SOONEST;
    if (symbol === this.symbol && !differs && waited < LATEST) return;
    const askedAt = performance.now();
    Object.assign(this, { symbol, askedAt });
    try {
      const answer = await fetch(`/coverage/${encodeURIComponent(symbol)}`);
      const told = answer.ok && (await answer.json());
      if (told && askedAt === this.askedAt) this.#show(told);
    } catch {
      this.askedAt = performance.now() - LATEST + SOONEST; // the banner tells of the lost server; ask again soon
    }
  }

  #show({ ranges, first_trade_id: first, last_trade_id: last, missing_trades: missing }) {
    this.shown = missing;
    const known = first !== null;
    const drawing = document.createElementNS(SVG, "svg");
    drawing.setAttribute("viewBox", "0 0 1000 8");
    drawing.setAttribute("preserveAspectRatio", "none");
    const from = ranges[0]?.first_trade_id;
    const length = last - from + 1;
    const holes = ranges.filter((range) => range.status === "missing");
    if (known) drawing.append(block(0, 1000, "held"));
    for (const hole of holes) {
      const width = ((hole.last_trade_id - hole.first_trade_id + 1) / length) * 1000;
      drawing.append(block(((hole.first_trade_id - from) / length) * 1000, width, "missing"));
    }
    this.places.bar.replaceChildren(drawing);
    this.places.bar.setAttribute("aria-label", known ? `${count(last - first + 1 - missing, "trade")} held, ${grouped(missing)} missing` : "No trade held yet");
    this.places.first.textContent = known ? `# ${grouped(first)}` : "";
    this.places.last.textContent = known ? `# ${grouped(last)}` : "";
  }
}

function block(x, width, kind) {
  const made = document.createElementNS(SVG, "rect");
  const wide = Math.max(width, 4); // one missing trade among millions must still be seen
  const attributes = { x: Math.min(x, 1000 - wide), y: 0, width: wide, height: 8, class: kind };
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}
