// What CoinGecko tells: the chosen coin's market cap, rank, volume and supply, and the market as a whole.

import { element } from "./element.js";
import { grouped, minuteTime } from "./numbers.js";
import { baseOf } from "./news.js";

const SCALES = [[1e12, "T"], [1e9, "B"], [1e6, "M"]];

export class Market {
  constructor(list) {
    this.list = list;
    this.coins = new Map();
    this.whole = null;
    this.symbol = "";
  }

  choose(symbol) {
    this.symbol = symbol;
    this.#show();
  }

  /** Take a message: coins of symbols, the market as a whole, or both. */
  take(message) {
    for (const row of message.market) this.coins.set(row.symbol, row);
    this.whole = message.global ?? this.whole;
    this.#show();
  }

  #show() {
    const coin = this.coins.get(this.symbol);
    const base = baseOf(this.symbol);
    const figures = [];
    if (coin) {
      figures.push([`${coin.name} market cap`, dollars(coin.market_cap), coin.market_cap_rank ? `rank ${coin.market_cap_rank}` : "", exact(coin.market_cap, coin)]);
      figures.push(["24 h volume", dollars(coin.total_volume), change(coin.price_change_percentage_24h), exact(coin.total_volume, coin)]);
      figures.push(["Circulating", short(coin.circulating_supply), supply(coin), exact(coin.circulating_supply, coin)]);
    }
    if (this.whole) {
      const share = this.whole[`market_cap_percentage_${base.toLowerCase()}`];
      if (share != null) figures.push([`${base} dominance`, percent(share), "of all coins", exact(share, this.whole)]);
      const largest = base === "BTC" ? null : this.whole.market_cap_percentage_btc;
      if (largest != null) figures.push(["BTC dominance", percent(largest), "of all coins", exact(largest, this.whole)]);
      figures.push(["All coins", dollars(this.whole.total_market_cap), change(this.whole.market_cap_change_percentage_24h), exact(this.whole.total_market_cap, this.whole)]);
    }
    this.list.replaceChildren(...figures.map(figure));
    this.list.hidden = figures.length === 0;
  }
}

function figure([name, value, beside, title]) {
  const made = document.createElement("div");
  made.title = title;
  made.append(element("dt", name), element("dd", value), element("dd", beside));
  made.lastElementChild.className = "beside";
  return made;
}

/** A glance at an amount; every digit is in the title. */
function short(text) {
  if (text == null) return "–";
  const [scale, letter] = SCALES.find(([least]) => Number(text) >= least) ?? [1, ""];
  return `${(Number(text) / scale).toFixed(scale === 1 ? 0 : 2)}${letter && ` ${letter}`}`;
}

function dollars(text) {
  return text == null ? "–" : `$${short(text)}`;
}

function percent(text) {
  return `${Number(text).toFixed(1)} %`;
}

function change(text) {
  if (text == null) return "";
  const number = Number(text);
  return `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(2)} % in 24 h`;
}

function supply(coin) {
  return coin.max_supply == null ? "no maximum" : `of ${short(coin.max_supply)}`;
}

function exact(text, row) {
  return text == null ? "not told" : `${grouped(text)} as of ${minuteTime(row.observed_at)} UTC`;
}
