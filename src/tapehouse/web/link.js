// Whether this page hears the server, and the server the exchange: the lamp at the top, and the banner below it.

import { alarm } from "./health.js";

const TEXTS = { waiting: "Connecting", live: "Live", silent: "Server silent", lost: "Connection lost" };

export class Link {
  constructor(lamp, banner) {
    this.lamp = lamp;
    this.banner = banner;
    this.state = "waiting";
    this.detail = "";
  }

  get lost() {
    return this.state === "lost" || this.state === "silent";
  }

  /** Take the state of the socket; true when it is another than before. */
  take(state, detail) {
    const changed = this.state !== state || this.detail !== detail;
    Object.assign(this, { state, detail });
    return changed;
  }

  /** Show it, with what the health of the data has to say; `health` is null before it came. */
  show(health) {
    const cut = health && alarm(health);
    this.lamp.dataset.state = this.lost || cut ? "lost" : this.state;
    this.lamp.textContent = !this.lost && cut ? cut.head : TEXTS[this.state];
    this.#showBanner(this.lost ? this.#serverLost() : cut);
  }

  #serverLost() {
    const why = this.detail ? ` (${this.detail})` : "";
    return { level: "bad", head: "CONNECTION LOST", text: `This page cannot hear the Tapehouse server${why}. What is shown is old. Reconnecting; the page catches up by itself.` };
  }

  #showBanner(alarming) {
    this.banner.hidden = !alarming;
    if (!alarming || this.banner.dataset.said === alarming.head + alarming.text) return;
    this.banner.dataset.said = alarming.head + alarming.text;
    this.banner.dataset.level = alarming.level;
    const head = document.createElement("strong");
    head.textContent = alarming.head;
    this.banner.replaceChildren(head, alarming.text);
  }
}
