// The candles before those that are shown, fetched a page at a time.

import { parseExact } from "./numbers.js";

const PAGE = 500;

export class Past {
  /** `take(candles)` gets older ones, oldest first. */
  constructor(take) {
    this.take = take;
    this.begin();
  }

  /** Begin anew: another symbol or interval is shown. */
  begin() {
    this.reached = false;
    this.asked = {};
  }

  /** Ask for the page before `oldest`, unless it is asked for already or there is none. */
  async fetch({ symbol, interval }, oldest) {
    if (this.asked.oldest === oldest || this.reached) return;
    const asked = { oldest };
    this.asked = asked;
    const query = new URLSearchParams({ interval, end: oldest, limit: PAGE });
    try {
      const answer = await fetch(`/ohlc/${encodeURIComponent(symbol)}?${query}`);
      if (!answer.ok) throw new Error(`${answer.status} for ${answer.url}`);
      const { candles } = parseExact(await answer.text());
      if (asked !== this.asked) return;
      this.reached = candles.length === 0;
      if (candles.length) this.take(candles);
    } catch (error) {
      if (asked === this.asked) this.reached = true;
      console.error("older candles could not be read:", error);
    }
  }
}
