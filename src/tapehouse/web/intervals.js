// The lengths of candles to choose from.

export class Intervals {
  /** `choose(interval)` is called when one is pressed. */
  constructor(group, choose) {
    this.group = group;
    this.choose = choose;
  }

  show(intervals, chosen) {
    this.group.replaceChildren(...intervals.map((interval) => {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", value: interval, textContent: interval });
      button.addEventListener("click", () => this.choose(interval));
      return button;
    }));
    this.check(chosen);
  }

  check(chosen) {
    for (const button of this.group.children) button.ariaPressed = String(button.value === chosen);
  }
}
