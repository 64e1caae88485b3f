// Numbers and times as text. A decimal stays the text the server sent: nothing here rounds what a person reads.

/** Parse JSON keeping every decimal as its own text where the browser tells it (integers stay numbers). */
export function parseExact(text) {
  return JSON.parse(text, (key, value, context) => {
    const isDecimal = typeof value === "number" && context?.source?.includes(".");
    return isDecimal ? context.source : value;
  });
}

export function decimalsOf(text) {
  const dot = String(text).indexOf(".");
  return dot < 0 ? 0 : String(text).length - dot - 1;
}

/** "65432.1" -> "65,432.1"; no digit is added or lost. */
export function grouped(text) {
  const [whole, fraction] = String(text).split(".");
  const head = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return fraction === undefined ? head : `${head}.${fraction}`;
}

/** The zeros that make a decimal `places` long, so that a column of them lines up. */
export function padding(text, places) {
  const missing = places - decimalsOf(text);
  if (missing <= 0) return "";
  return (decimalsOf(text) === 0 ? "." : "") + "0".repeat(missing);
}

export function padded(text, places) {
  return grouped(text) + padding(text, places);
}

/** Change in per cent between two decimals, for a glance: two places. */
export function changeBetween(before, after) {
  const from = Number(before);
  if (!(from > 0)) return null;
  const percent = (Number(after) / from - 1) * 100;
  const way = percent > 0.004 ? "up" : percent < -0.004 ? "down" : "flat";
  return { way, text: `${percent >= 0 ? "+" : "−"}${Math.abs(percent).toFixed(2)} %` };
}

/** "2026-01-02T03:04:05.678901Z" -> "03:04:05.678" */
export function clockTime(iso) {
  const [time, fraction = ""] = iso.slice(11, -1).split(".");
  return `${time}.${fraction.slice(0, 3).padEnd(3, "0")}`;
}

/** "2026-01-02T03:04:00Z" -> "2026-01-02 03:04" */
export function minuteTime(iso) {
  return `${iso.slice(0, 10)} ${iso.slice(11, 16)}`;
}

export function seconds(iso) {
  return Date.parse(iso) / 1000;
}

/** A span for people: "0.4 s", "12 s", "3 min 20 s", "2 h 5 min", "3 d 4 h". */
export function span(duration) {
  const whole = Math.floor(duration);
  if (duration < 10) return `${Math.max(0, duration).toFixed(1)} s`;
  if (whole < 120) return `${whole} s`;
  if (whole < 7200) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 172800) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

export function count(number, one, many = `${one}s`) {
  return `${grouped(number)} ${number === 1 ? one : many}`;
}
