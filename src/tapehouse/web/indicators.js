// The indicators that can be drawn, and their values from the server, which computes them: the page only draws.

/** Lines by the names the server has for them; `pane` says whether they share the price's scale or have one of their own. */
export const INDICATORS = [
  { name: "sma", ask: "sma:20", label: "SMA 20", about: "simple moving average", pane: "price", lines: [{ field: "sma", colour: "line-1", width: 2 }] },
  { name: "ema", ask: "ema:50", label: "EMA 50", about: "exponential moving average", pane: "price", lines: [{ field: "ema_50", colour: "line-2", width: 2, dash: "large" }] },
  {
    name: "bollinger", ask: "bollinger:20", label: "Bollinger 20", about: "average and two deviations", pane: "price",
    lines: [{ field: "bollinger_upper", colour: "line-3", width: 1 }, { field: "bollinger_middle", colour: "line-3", width: 1, dash: "dotted" }, { field: "bollinger_lower", colour: "line-3", width: 1 }],
  },
  { name: "session_vwap", ask: "session_vwap", label: "VWAP of the day", about: "volume-weighted price since 00:00 UTC", pane: "price", lines: [{ field: "session_vwap", colour: "line-4", width: 2, dash: "dashed" }] },
  { name: "rsi", ask: "rsi:14", label: "RSI 14", about: "relative strength, 0 to 100", pane: "rsi", levels: [30, 70], lines: [{ field: "rsi", colour: "line-5", width: 2 }] },
  {
    name: "macd", ask: "macd:12:26:9", label: "MACD 12 26 9", about: "convergence of two averages", pane: "macd", levels: [0],
    lines: [{ field: "macd", colour: "line-1", width: 2 }, { field: "macd_signal", colour: "line-2", width: 1, dash: "large" }, { field: "macd_histogram", kind: "histogram" }],
  },
];

const MOST = 5000; // windows one answer may have

/** Ask for the last `limit` windows of some indicators; returns a list of windows, oldest first. */
export async function fetchIndicators(symbol, interval, chosen, limit) {
  const asked = chosen.map(({ ask }) => ask).join(",");
  const query = new URLSearchParams({ interval, indicators: asked, limit: Math.min(Math.max(limit, 1), MOST) });
  const answer = await fetch(`/indicators/${encodeURIComponent(symbol)}?${query}`);
  if (!answer.ok) throw new Error(`${answer.status} for ${answer.url}`);
  return (await answer.json()).windows;
}
