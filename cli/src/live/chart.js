// Charts on canvas that move with time: series over the last SPAN seconds.
"use strict";

const SPAN = 90;
// The newest sample appears this late, s, so that the right edge never jumps.
const LAG = 0.35;
// Longest time between two samples that are connected, s.
const GAP = 2;

const STYLE = getComputedStyle(document.documentElement);
const colour = name => STYLE.getPropertyValue(`--${name}`).trim();

// A chart on the canvas `id`. `layers(samples)` returns what is drawn, from back to
// front: { colour, top, bottom?, width?, alpha?, dash? }, where `top` and `bottom` map a
// sample to a value or null. A layer with `bottom` is an area, another one is a line.
class Chart {
  constructor(id, options) {
    this.canvas = document.getElementById(id);
    this.pen = this.canvas.getContext("2d");
    this.log = options.log || false;
    this.unit = options.unit || "";
    this.least = options.least;
    this.layers = options.layers;
    this.low = options.log ? options.least[0] : 0;
    this.high = options.least[1];
    this.left = 46;
    this.bottom = 22;
    this.topMargin = 20;
  }

  // Adapts the canvas to its size on the screen.
  fit() {
    const ratio = window.devicePixelRatio || 1;
    const { width, height } = this.canvas.getBoundingClientRect();
    const wanted = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.canvas.width !== wanted[0] || this.canvas.height !== wanted[1]) {
      [this.canvas.width, this.canvas.height] = wanted;
    }
    this.pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.width = width;
    this.height = height;
  }

  x(time, now) {
    return this.left + (this.width - this.left - 2) * (1 + (time - now) / SPAN);
  }

  y(value) {
    const share = this.log
      ? Math.log(Math.max(value, this.low) / this.low) / Math.log(this.high / this.low)
      : (value - this.low) / (this.high - this.low);
    return this.height - this.bottom - (this.height - this.bottom - this.topMargin) * share;
  }

  // Moves the scale towards the values that are shown.
  scale(samples, layers, ease) {
    let [least, most] = [Infinity, 0];
    for (const sample of samples) {
      for (const layer of layers) {
        for (const value of [layer.top(sample), layer.bottom && layer.bottom(sample)]) {
          if (value > 0) [least, most] = [Math.min(least, value), Math.max(most, value)];
        }
      }
    }
    const high = Math.max(this.least[1], most * (this.log ? 1.25 : 1.08));
    this.high += (high - this.high) * ease;
    if (this.log) {
      const low = Math.min(this.least[0], Math.max(least * 0.8, 0.01));
      this.low *= Math.pow(low / this.low, ease);
    }
  }

  ticks() {
    if (this.log) {
      const all = [];
      for (let decade = -2; decade < 5; decade++) {
        for (const digit of this.height > 200 ? [1, 2, 5] : [1]) all.push(digit * 10 ** decade);
      }
      return all.filter(tick => tick >= this.low && tick <= this.high);
    }
    const rough = this.high / Math.max(2, Math.floor(this.height / 55));
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].find(digit => digit * power >= rough) * power;
    const all = [];
    for (let tick = 0; tick <= this.high; tick += step) all.push(Number(tick.toPrecision(6)));
    return all;
  }

  draw(samples, now, ease) {
    this.fit();
    const pen = this.pen;
    const layers = this.layers(samples);
    const shown = samples.filter(sample => sample.t > now - SPAN - 2);
    this.scale(shown, layers, ease);
    pen.clearRect(0, 0, this.width, this.height);
    this.axes(now);
    pen.save();
    pen.beginPath();
    pen.rect(this.left, 0, this.width - this.left, this.height - this.bottom + 1);
    pen.clip();
    this.engines(shown, now);
    for (const layer of layers) this.layer(layer, shown, now);
    pen.restore();
  }

  axes(now) {
    const pen = this.pen;
    pen.font = "12px system-ui, 'Noto Sans', 'DejaVu Sans', sans-serif";
    pen.lineWidth = 1;
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    for (const tick of this.ticks()) {
      const y = Math.round(this.y(tick)) + 0.5;
      pen.strokeStyle = colour("rule");
      pen.beginPath();
      pen.moveTo(this.left, y);
      pen.lineTo(this.width, y);
      pen.stroke();
      pen.fillStyle = colour("muted");
      pen.fillText(`${tick}${this.unit}`, this.left - 6, y);
    }
    pen.textBaseline = "alphabetic";
    const every = this.width < 420 ? 30 : 15;
    for (let ago = 0; ago < SPAN; ago += every) {
      const x = this.x(now - ago, now);
      pen.textAlign = ago === 0 ? "right" : "center";
      pen.fillText(ago === 0 ? "now" : `−${ago} s`, x, this.height - 5);
    }
  }

  // A strip above the data with the engine in force, and a line at each switch.
  engines(samples, now) {
    const pen = this.pen;
    let from = 0;
    for (let at = 1; at <= samples.length; at++) {
      const last = at === samples.length;
      if (!last && samples[at].engine === samples[from].engine) continue;
      const engine = samples[from].engine;
      const left = this.x(samples[from].t, now);
      const right = last ? this.width : this.x(samples[at].t, now);
      pen.fillStyle = colour(engine) || colour("frame");
      pen.fillRect(left, 0, Math.max(0, right - left - 1), 4);
      if (from > 0) {
        pen.strokeStyle = colour("frame");
        pen.setLineDash([2, 3]);
        pen.beginPath();
        pen.moveTo(left, 4);
        pen.lineTo(left, this.height - this.bottom);
        pen.stroke();
        pen.setLineDash([]);
      }
      const start = Math.max(left, this.left) + 4;
      if (right - start > pen.measureText(engine).width + 6) {
        pen.textAlign = "left";
        pen.fillText(engine, start, 16);
      }
      from = at;
    }
  }

  layer(layer, samples, now) {
    // Each run of samples with values.
    let [run, before] = [[], -Infinity];
    for (const sample of samples) {
      const top = layer.top(sample);
      const missing = top === null || top === undefined;
      if (missing || sample.t - before > GAP) {
        this.run(layer, run, now);
        run = [];
      }
      before = sample.t;
      if (!missing) {
        run.push([this.x(sample.t, now), top, layer.bottom ? layer.bottom(sample) : 0]);
      }
    }
    this.run(layer, run, now);
  }

  run(layer, run, now) {
    if (run.length < 2) return;
    const pen = this.pen;
    pen.beginPath();
    for (const [x, top] of run) pen.lineTo(x, this.y(top));
    if (layer.bottom) {
      for (const [x, , bottom] of run.reverse()) pen.lineTo(x, this.y(bottom));
      pen.globalAlpha = layer.alpha || 0.2;
      pen.fillStyle = colour(layer.colour);
      pen.fill();
      pen.globalAlpha = 1;
    } else {
      pen.strokeStyle = colour(layer.colour);
      pen.lineWidth = layer.width || 2;
      pen.lineJoin = "round";
      pen.stroke();
    }
  }
}
