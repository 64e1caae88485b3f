// The news: stories newest first, told once though several outlets tell them; those of the chosen coin on the chart.

import { element } from "./element.js";
import { minuteTime, seconds } from "./numbers.js";

const KEPT = 200;
const SHOWN = 60;
const LONGEST_SUMMARY = 160;
let bases = {};

/** Take what the platform says each symbol is a price of. */
export function learnBases(told) {
  bases = told;
}

/** "BTCUSDT" -> "BTC": what headlines call it. */
export function baseOf(symbol) {
  return bases[symbol] ?? symbol;
}

export class News {
  /** `changed(stories)` gets the stories that mention the chosen coin, oldest first. */
  constructor({ list, note, only }, changed) {
    this.list = list;
    this.note = note;
    this.only = only;
    this.changed = changed;
    this.items = new Map();
    this.base = "";
    only.addEventListener("change", () => this.#show());
  }

  choose(symbol) {
    this.base = baseOf(symbol);
    this.only.nextElementSibling.textContent = `${this.base} only`;
    this.#show();
  }

  add(items) {
    for (const item of items) this.items.set(named(item), item);
    const newest = [...this.items].sort(([, left], [, right]) => seconds(right.observed_at) - seconds(left.observed_at));
    this.items = new Map(newest.slice(0, KEPT));
    this.#show();
  }

  #show() {
    const stories = told([...this.items.values()]);
    const own = stories.filter((story) => story.tickers?.includes(this.base));
    const shown = (this.only.checked ? own : stories).slice(0, SHOWN);
    this.list.replaceChildren(...shown.map(entry));
    this.note.hidden = shown.length > 0;
    this.note.textContent = this.only.checked && stories.length ? `No story mentions ${this.base}.` : "No story yet.";
    this.changed(own.reverse());
  }
}

/** What an item is known by, and the story it begins: two feeds may use one key for two items. */
function named(item) {
  return `${item.source} ${item.key}`;
}

/** Put the items that tell one story together, newest story first: as it was told first, and who else tells it. */
function told(items) {
  const stories = new Map();
  for (const item of items.sort((left, right) => seconds(left.observed_at) - seconds(right.observed_at))) {
    const name = item.story ?? named(item);
    const known = stories.get(name);
    if (known) known.others.add(item.publisher);
    else stories.set(name, { ...item, others: new Set() });
  }
  for (const story of stories.values()) story.others.delete(story.publisher);
  return [...stories.values()].reverse();
}

const TONES = { positive: "▲", negative: "▼" };

function entry(story) {
  const made = document.createElement("li");
  made.dataset.tone = story.tone ?? "neutral";
  made.append(head(story), title(story));
  if (story.summary) made.append(element("p", shortened(story.summary)));
  if (story.tickers?.length) made.append(element("p", story.tickers.join(" · "), "tickers"));
  return made;
}

function head(story) {
  const made = document.createElement("header");
  const time = element("time", minuteTime(story.observed_at).slice(isToday(story.observed_at) ? 11 : 5));
  time.dateTime = story.observed_at;
  const others = story.others.size ? ` and ${[...story.others].join(", ")}` : "";
  const delayed = story.delay_hours ? `, ${story.delay_hours} h late` : "";
  made.append(time, element("span", `${story.publisher}${others}${delayed}`, "publisher"));
  if (TONES[story.tone]) {
    const tone = element("span", TONES[story.tone], "tone");
    tone.title = `The headline sounds ${story.tone}: ${story.sentiment}`;
    tone.role = "img";
    tone.ariaLabel = `sounds ${story.tone}`;
    made.append(tone);
  }
  return made;
}

function title(story) {
  if (!/^https?:\/\//.test(story.link)) return element("h3", story.title);
  const link = element("a", story.title);
  Object.assign(link, { href: story.link, target: "_blank", rel: "noopener noreferrer nofollow" });
  const made = document.createElement("h3");
  made.append(link);
  return made;
}

function shortened(summary) {
  return summary.length > LONGEST_SUMMARY ? `${summary.slice(0, LONGEST_SUMMARY).replace(/\s+\S*$/, "")} …` : summary;
}

function isToday(iso) {
  return iso.slice(0, 10) === new Date().toISOString().slice(0, 10);
}
