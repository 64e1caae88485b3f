// Windows over a hole, drawn as hatched bands behind the candles: a series primitive of Lightweight Charts.

const STRIPE = 6;

export class GapBands {
  constructor() {
    this.times = [];
    this.colours = null;
    this.view = { zOrder: () => "bottom", renderer: () => ({ draw: (target) => this.#draw(target) }) };
  }

  attached({ chart, requestUpdate }) {
    this.chart = chart;
    this.requestUpdate = requestUpdate;
  }

  paneViews() {
    return [this.view];
  }

  show(times) {
    this.times = times;
    this.requestUpdate?.();
  }

  #draw(target) {
    if (!this.times.length || !this.colours) return;
    const scale = this.chart.timeScale();
    const width = scale.options().barSpacing;
    target.useBitmapCoordinateSpace(({ context, bitmapSize, horizontalPixelRatio: ratio }) => {
      for (const time of this.times) {
        const x = scale.timeToCoordinate(time);
        if (x !== null) this.#band(context, (x - width / 2) * ratio, width * ratio, bitmapSize.height, ratio);
      }
    });
  }

  #band(context, left, width, height, ratio) {
    context.save();
    context.beginPath();
    context.rect(left, 0, Math.max(width, 2), height);
    context.clip();
    context.fillStyle = this.colours.band;
    context.fillRect(left, 0, width, height);
    context.strokeStyle = this.colours.band;
    context.lineWidth = 1.5 * ratio;
    context.beginPath();
    for (let y = -width; y < height; y += STRIPE * ratio) {
      context.moveTo(left, y + width);
      context.lineTo(left + width, y);
    }
    context.stroke();
    context.restore();
  }
}
