// What stands above and below candles: signals, stories, revisions.

import { createSeriesMarkers } from "/web/vendor/lightweight-charts.js";
import { kindOf } from "./kinds.js";
import { seconds } from "./numbers.js";

const LONG_RUN = 30; // windows

export class Markers {
  constructor(series) {
    this.marks = createSeriesMarkers(series, []);
    this.stories = [];
    this.signals = new Map();
  }

  /** Mark the candles that opened at these times, in order; `rows` by time. */
  show(times, rows, colours) {
    const revised = inShortRuns(times, (time) => rows.get(time).revision > 1 && rows.get(time).state !== "open");
    const signalled = times.filter((time) => this.signals.has(time));
    this.marks.setMarkers([
      ...revised.map((time) => ({ time, position: "belowBar", shape: "circle", color: colours?.revised, size: 0.6 })),
      ...[...this.storiesByCandle(times, rows)].map(([time, { length }]) => ({ time, position: "aboveBar", shape: "square", color: colours?.story, size: 0.7, text: length > 1 ? String(length) : "" })),
      ...signalled.map((time) => ({ time, position: "aboveBar", shape: "arrowDown", color: colours?.signal, size: 1, text: this.signals.get(time).map((signal) => kindOf(signal).letter).join("") })),
    ].sort((left, right) => left.time - right.time));
  }

  /** The stories of the windows that are shown, by opening time. */
  storiesByCandle(times, rows) {
    const told = new Map();
    for (const story of this.stories) {
      const published = seconds(story.observed_at);
      const time = times.findLast((opened) => opened <= published);
      if (time === undefined || published >= seconds(rows.get(time).closes_at)) continue;
      told.set(time, [...(told.get(time) ?? []), story]);
    }
    return told;
  }
}

/** The times of which something holds, but those of long runs: a past that was filled in is revised throughout, and marks would hide it. */
function inShortRuns(times, holds) {
  const found = [];
  let run = [];
  for (const time of [...times, null]) {
    if (time !== null && holds(time)) run.push(time);
    else {
      if (run.length <= LONG_RUN) found.push(...run);
      run = [];
    }
  }
  return found;
}
