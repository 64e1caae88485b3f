// What each kind of signal is called, and what its evidence means in a sentence.

import { grouped, minuteTime } from "./numbers.js";

/** By kind: its name, the letter on the chart, and what was seen. Distances and moves are logarithms. */
export const KINDS = {
  volume_spike: {
    name: "Volume spike", letter: "V",
    tell: (of) => {
      const hour = of.times_hour_of_week == null ? "" : `, and ${times(of.times_hour_of_week)} what this hour of the week is used to`;
      return `${times(of.times_before)} the volume of the windows just before was traded${hour}.`;
    },
  },
  price_outlier: {
    name: "Price jump", letter: "P",
    tell: (of) => {
      const kept = of.kept == null ? "" : of.kept < 0.3 ? " It came back within the window: a wick or a bad tick." : ` At the close ${percent(of.kept, 0)} of it was kept.`;
      return `The price went ${signed(of.jump)} away from the last one before.${kept}`;
    },
  },
  vwap_deviation: {
    name: "Far from VWAP", letter: "W",
    tell: (of) => `The close lies ${signed(of.distance)} from the average price of the last hour of windows; usual is ${signed(of.usual_distance)}.`,
  },
  volatility_regime: {
    name: "Volatility", letter: "R",
    tell: (of) => `Volatility went from ${of.regime_before} to ${of.regime}: it is now ${times(of.ratio)} that of the windows before.`,
  },
  taker_imbalance: {
    name: "One-sided takers", letter: "T",
    tell: (of) => `Takers bought ${percent(of.buyers_share, 1)} of the volume, in a window that traded at least as much as usual.`,
  },
  divergence: {
    name: "Divergence", letter: "D",
    tell: (of) => `${SOURCES[of.told_by] ?? of.told_by} told ${grouped(of.told_price)} as of ${minuteTime(of.told_at)} UTC: ${signed(of.distance)} outside of what was traded here${of.lowest == null ? "" : `, ${grouped(of.lowest)} to ${grouped(of.highest)}`}.`,
  },
  sentiment_extreme: {
    name: "Extreme sentiment", letter: "S",
    tell: (of) => `Fear & Greed came to ${of.value} of 100, ${of.mood}; ${of.day_before == null ? "no value is known of the days before" : `it was ${of.value_before} on ${of.day_before.slice(0, 10)}`}.`,
  },
};

const SOURCES = { coingecko: "CoinGecko", coingecko_price: "CoinGecko" };

export const STATES = {
  open: "the window is still open: it may go away",
  provisional: "trades are missing: it may change when they are repaired",
  confirmed: "every trade it rests on is held",
  retracted: "withdrawn: a correction took its ground away",
};

/** What a kind nobody told this page about is called. */
export function kindOf(signal) {
  return KINDS[signal.kind] ?? { name: signal.kind.replaceAll("_", " "), letter: "?", tell: () => "" };
}

/** How far a signal may be trusted; what an open window would say has no revision yet. */
export function stateOf(signal) {
  return signal.state === "retracted" ? "retracted" : signal.revision === 0 ? "open" : signal.state;
}

function times(ratio) {
  if (ratio == null) return "an unknown multiple of";
  return `${ratio >= 100 ? ratio.toFixed(0) : ratio >= 10 ? ratio.toFixed(1) : ratio.toFixed(2)} times`;
}

/** A logarithm as the change it stands for. */
function signed(logarithm) {
  if (logarithm == null) return "–";
  const change = Math.expm1(logarithm);
  return `${change < 0 ? "−" : "+"}${percent(Math.abs(change), Math.abs(change) < 0.001 ? 3 : 2)}`;
}

function percent(part, places) {
  return part == null ? "–" : `${(part * 100).toFixed(places)} %`;
}
