// The symbols as tabs with their last price and the day's change; a finder where there are many.

import { changeBetween, grouped } from "./numbers.js";

const TABS = 12;

export class Symbols {
  constructor(list, finder, choose) {
    this.list = list;
    this.finder = finder;
    this.choose = choose;
    this.names = [];
    list.addEventListener("keydown", (event) => this.#walk(event));
    finder.querySelector("input").addEventListener("change", (event) => this.#find(event.target));
  }

  show(names, chosen) {
    this.names = names;
    this.finder.hidden = names.length <= TABS;
    this.finder.querySelector("datalist").replaceChildren(...names.map((name) => new Option(name, name)));
    const tabs = names.slice(0, TABS);
    if (chosen && !tabs.includes(chosen)) tabs.unshift(chosen);
    this.list.replaceChildren(...tabs.map((name) => this.#tab(name, name === chosen)));
  }

  #tab(name, chosen) {
    const tab = document.createElement("button");
    tab.type = "button";
    tab.role = "tab";
    tab.dataset.symbol = name;
    tab.ariaSelected = String(chosen);
    tab.tabIndex = chosen ? 0 : -1;
    for (const part of ["name", "change", "last"]) {
      const made = document.createElement("span");
      made.className = part;
      tab.append(made);
    }
    tab.firstElementChild.textContent = name;
    tab.addEventListener("click", () => this.choose(name));
    return tab;
  }

  price(entry) {
    const tab = this.list.querySelector(`[data-symbol="${CSS.escape(entry.symbol)}"]`);
    if (!tab) return;
    const change = changeBetween(entry.day_open, entry.price);
    tab.querySelector(".last").textContent = grouped(entry.price);
    tab.querySelector(".change").textContent = change?.text ?? "";
    tab.querySelector(".change").dataset.way = change?.way ?? "flat";
  }

  #walk(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const at = [...this.list.children].indexOf(document.activeElement);
    if (!step || at < 0) return;
    event.preventDefault();
    const tabs = this.list.children;
    const next = tabs[(at + step + tabs.length) % tabs.length].dataset.symbol;
    this.choose(next);
    this.list.querySelector(`[data-symbol="${CSS.escape(next)}"]`).focus();
  }

  #find(input) {
    const name = input.value.trim().toUpperCase();
    if (!this.names.includes(name)) return;
    input.value = "";
    this.choose(name);
  }
}
