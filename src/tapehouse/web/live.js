// The connection to our own server: reconnects with back-off, and says when it hears nothing.

const SILENT_AFTER = 4000; // the server speaks at least once a second
const FIRST_RETRY = 250;
const LAST_RETRY = 5000;

export class Live {
  /** `on.message(message)` gets each message; `on.link(state, detail)` gets waiting, live, silent or lost. */
  constructor(address, on) {
    this.address = address;
    this.on = on;
    this.failures = 0;
    this.heardAt = 0;
    this.socket = null;
    setInterval(() => this.#watch(), 500);
    addEventListener("online", () => this.#retryNow());
    this.#open();
  }

  /** Ask for this in place of what was asked before; the answer is a snapshot. To be asked after every `hello`. */
  subscribe(wanted) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ subscribe: wanted }));
  }

  #open() {
    const socket = new WebSocket(this.address);
    this.socket = socket;
    socket.addEventListener("message", (event) => this.#hear(event.data));
    socket.addEventListener("close", (event) => this.#lose(socket, event.reason));
  }

  #hear(text) {
    this.heardAt = performance.now();
    this.failures = 0;
    this.on.link("live", "");
    this.on.message(JSON.parse(text));
  }

  #lose(socket, reason) {
    if (socket !== this.socket) return;
    this.on.link("lost", reason);
    this.failures += 1;
    const longest = Math.min(LAST_RETRY, FIRST_RETRY * 2 ** this.failures);
    this.timer = setTimeout(() => this.#open(), longest / 2 + (Math.random() * longest) / 2);
  }

  #retryNow() {
    if (this.socket.readyState !== WebSocket.CLOSED) return;
    clearTimeout(this.timer);
    this.#open();
  }

  #watch() {
    const open = this.socket.readyState === WebSocket.OPEN;
    if (open && this.heardAt && performance.now() - this.heardAt > SILENT_AFTER) this.on.link("silent", "");
  }
}
