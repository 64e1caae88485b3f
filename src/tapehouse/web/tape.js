// The tape on screen: the last trades, newest first, every digit as the exchange gave it.

import { clockTime, decimalsOf, grouped, padding } from "./numbers.js";

const ROWS = 60;
const RATE_WINDOW = 10_000;

export class Tape {
  constructor(body, rate) {
    this.body = body;
    this.rate = rate;
    this.clear();
  }

  clear() {
    this.body.replaceChildren();
    this.places = { price: 0, quantity: 0 };
    this.lastId = -1;
    this.arrivals = [];
    this.rate.textContent = "";
  }

  /** Show trades, oldest first in the list; `skipped` were left out of the message and count for the rate alone. */
  add(trades, skipped = 0, counted = true) {
    const fresh = trades.filter((trade) => trade.last_trade_id > this.lastId).slice(-ROWS);
    if (counted) this.#count(trades.length + skipped);
    if (!fresh.length) return;
    this.lastId = fresh.at(-1).last_trade_id;
    const widened = this.#widen(fresh);
    this.body.prepend(...fresh.map((trade) => this.#row(trade)).reverse());
    while (this.body.rows.length > ROWS) this.body.lastElementChild.remove();
    if (widened) this.#realign();
  }

  #widen(trades) {
    const before = this.places.price + this.places.quantity;
    for (const trade of trades) {
      this.places.price = Math.max(this.places.price, decimalsOf(trade.price), 2);
      this.places.quantity = Math.max(this.places.quantity, decimalsOf(trade.quantity));
    }
    return this.places.price + this.places.quantity > before;
  }

  #row(trade) {
    const row = document.createElement("tr");
    row.dataset.side = trade.taker_side;
    row.dataset.id = trade.last_trade_id;
    row.title = idsOf(trade);
    row.append(cell(clockTime(trade.traded_at)), cell(trade.taker_side), this.#number(trade.price, "price"));
    row.append(this.#number(trade.quantity, "quantity"));
    return row;
  }

  #number(text, column) {
    const made = cell(grouped(text));
    made.dataset.exact = text;
    made.append(zeros(text, this.places[column]));
    return made;
  }

  #realign() {
    for (const row of this.body.rows) {
      for (const [index, column] of [[2, "price"], [3, "quantity"]]) {
        row.cells[index].lastElementChild.replaceWith(zeros(row.cells[index].dataset.exact, this.places[column]));
      }
    }
  }

  #count(number) {
    const now = performance.now();
    this.arrivals.push([now, number]);
    while (this.arrivals[0][0] < now - RATE_WINDOW) this.arrivals.shift();
  }

  /** Say how many trades a second came lately. */
  showRate() {
    const now = performance.now();
    const recent = this.arrivals.filter(([at]) => at >= now - RATE_WINDOW);
    const total = recent.reduce((sum, [, number]) => sum + number, 0);
    const over = recent.length ? Math.max(3000, now - recent[0][0]) / 1000 : 1;
    const rate = total / over;
    this.rate.textContent = `${rate >= 10 ? grouped(Math.round(rate)) : rate.toFixed(1)} trades/s`;
  }
}

function idsOf(trade) {
  const { first_trade_id: first, last_trade_id: last } = trade;
  return first === last ? `trade ${last}` : `trades ${first} to ${last}`;
}

function cell(text) {
  const made = document.createElement("td");
  made.textContent = text;
  return made;
}

function zeros(text, places) {
  const made = document.createElement("span");
  made.className = "pad";
  made.textContent = padding(text, places);
  return made;
}
