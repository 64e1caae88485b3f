// A table of coloured cells: one of them takes the focus, arrows walk, and what a cell says is told in words beside it.

export class Cells {
  /** `table` is filled by `show`; `note` gets the text of the cell under the pointer or focus, else what was `said`. */
  constructor(table, note) {
    this.table = table;
    this.note = note;
    this.said = "";
    table.addEventListener("keydown", (event) => this.#walk(event));
    for (const kind of ["pointerover", "focusin"]) table.addEventListener(kind, (event) => this.#tell(event.target.closest("td")));
    for (const kind of ["pointerleave", "focusout"]) table.addEventListener(kind, () => this.#tell(null));
  }

  /** Explain the colours: the words at both ends, and the steps between them. */
  explain(least, steps, most) {
    const swatches = steps.map((step) => {
      const made = document.createElement("i");
      made.dataset.step = step;
      return made;
    });
    this.note.nextElementSibling.replaceChildren(least, ...swatches, most);
  }

  /** Show rows of `[head, [{ text, step, told, kind }, ...]]` below column heads; the focus stays where it was. */
  show(columns, rows, said) {
    const focused = this.#place(document.activeElement);
    this.said = said;
    const head = document.createElement("tr");
    head.append(document.createElement("td"), ...columns.map((column) => heading(column, "col")));
    const body = rows.map(([name, cells]) => {
      const made = document.createElement("tr");
      made.append(heading(name, "row"), ...cells.map(cell));
      return made;
    });
    this.table.tHead.replaceChildren(head);
    this.table.tBodies[0].replaceChildren(...body);
    const first = this.#at(focused ?? [0, 0]) ?? this.#at([0, 0]);
    if (first) first.tabIndex = 0;
    if (focused) first?.focus({ preventScroll: true });
    else this.#tell(this.table.querySelector("tbody td:hover"));
  }

  #tell(cell) {
    this.note.textContent = cell?.ariaLabel ?? this.said;
  }

  #walk(event) {
    const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [];
    const place = this.#place(event.target);
    if (down === undefined || !place) return;
    event.preventDefault();
    const next = this.#at([place[0] + down, place[1] + right]);
    if (!next) return;
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  #place(element) {
    if (!element?.closest || element.closest("table") !== this.table || element.tagName !== "TD") return null;
    return [element.parentElement.sectionRowIndex, element.cellIndex - 1];
  }

  #at([row, column]) {
    return this.table.tBodies[0].rows[row]?.cells[column + 1] ?? null;
  }
}

function heading(text, scope) {
  const made = document.createElement("th");
  made.scope = scope;
  made.textContent = text;
  return made;
}

function cell({ text = "", step = "", told, kind = "" }) {
  const made = document.createElement("td");
  made.textContent = text;
  made.dataset.step = step;
  made.dataset.kind = kind;
  made.ariaLabel = told;
  made.tabIndex = -1;
  return made;
}
