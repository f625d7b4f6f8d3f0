/* A square of the plane on a canvas: sharp on every screen, axes in the margin, layers drawn in the order they are called.

     const plot = new Plot(parent, {half: 3, label: "…"});
     plot.paint = (p) => { p.heat(…); p.contours(…); p.arrows(…); p.points(…); };   // called by refresh() and on resize
     plot.refresh();                                                               // at most once a frame
     plot.describe("What is seen, with numbers.");                                 // the picture's text alternative

   Lattices are those of the server: n × n values over [-half, half]², row by row from the bottom. */

import {theme} from "./colour.js";
import {streamlines} from "./streamlines.js";

export class Plot {
  constructor(parent, {half = 3, label = "", axes = true, ratio = 1} = {}) {
    this.half = half;
    this.axes = axes;
    this.ratio = ratio;
    this.paint = () => {};
    this.frame = 0;
    this.box = document.createElement("div");
    this.box.className = "plot";
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", label);
    this.layer = document.createElement("div");
    this.layer.className = "handles";
    this.box.append(this.canvas, this.layer);
    parent.append(this.box);
    this.draw = this.canvas.getContext("2d");
    this.watch = new ResizeObserver(() => this.resize());
    this.watch.observe(this.box);
    this.resize();
  }

  stop() {
    this.watch.disconnect();
    cancelAnimationFrame(this.frame);
    this.frame = 0;
  }

  describe(text) { this.canvas.setAttribute("aria-label", text); }

  resize() {
    const width = this.box.clientWidth || 300, height = Math.round(width * this.ratio);
    const dense = Math.min(3, window.devicePixelRatio || 1);
    this.canvas.width = Math.round(width * dense);
    this.canvas.height = Math.round(height * dense);
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    this.width = width;
    this.height = height;
    this.dense = dense;
    this.render();
  }

  refresh() {
    if (!this.frame) this.frame = requestAnimationFrame(() => { this.frame = 0; this.render(); });
  }

  render() {
    this.colours = theme();
    const c = this.draw;
    c.setTransform(this.dense, 0, 0, this.dense, 0, 0);
    c.fillStyle = this.colours.paper;
    c.fillRect(0, 0, this.width, this.height);
    this.paint(this);
    if (this.axes) this.ticks();
    this.placed?.(this);
  }

  x(value) { return (value + this.half) / (2 * this.half) * this.width; }
  y(value) { return this.height - (value + this.half) / (2 * this.half) * this.height; }
  scale(length) { return length / (2 * this.half) * this.width; }
  data(left, top) {
    return [left / this.width * 2 * this.half - this.half, (1 - top / this.height) * 2 * this.half - this.half];
  }

  /* Values n × n as colours: `scale` maps [0, 1] to [r, g, b]; values outside `range` take the end colours. */
  heat(values, n, {scale, range: [low, high], alpha = 1}) {
    this.buffer ??= document.createElement("canvas");
    this.buffer.width = this.buffer.height = n;
    const inner = this.buffer.getContext("2d");
    const picture = inner.createImageData(n, n);
    const table = Array.from({length: 256}, (_, k) => scale(k / 255));
    for (let row = 0; row < n; row += 1) {
      for (let k = 0; k < n; k += 1) {
        const t = (values[(n - 1 - row) * n + k] - low) / (high - low || 1);
        const colour = table[Math.max(0, Math.min(255, Math.round(255 * t)))] ?? table[0];
        const at = 4 * (row * n + k);
        picture.data[at] = colour[0];
        picture.data[at + 1] = colour[1];
        picture.data[at + 2] = colour[2];
        picture.data[at + 3] = 255 * alpha;
      }
    }
    inner.putImageData(picture, 0, 0);
    // Values sit on the lattice's points: its cells reach half a step over the square's edge.
    const wide = this.width * n / (n - 1), tall = this.height * n / (n - 1);
    this.draw.imageSmoothingEnabled = true;
    this.draw.drawImage(this.buffer, (this.width - wide) / 2, (this.height - tall) / 2, wide, tall);
  }

  /* Level lines by marching squares: most cells are between two levels, and cost one comparison. */
  contours(values, n, levels, {colour = this.colours.line, width = 1, alpha = 1} = {}) {
    const c = this.draw, step = this.width / (n - 1), height = this.height, sorted = [...levels].sort((a, b) => a - b);
    c.save();
    c.strokeStyle = colour;
    c.lineWidth = width;
    c.globalAlpha = alpha;
    c.beginPath();
    const edge = (side, i, j, a, b, d, e) => {
      let u = i, v = j;
      if (side === B) u += a / (a - b);
      else if (side === T) { u += d / (d - e); v += 1; }
      else if (side === L) v += a / (a - d);
      else { u += 1; v += b / (b - e); }
      return [u * step, height - v * step];
    };
    for (let j = 0; j < n - 1; j += 1) {
      for (let i = 0; i < n - 1; i += 1) {
        const k = j * n + i, va = values[k], vb = values[k + 1], vd = values[k + n], ve = values[k + n + 1];
        const low = Math.min(va, vb, vd, ve), high = Math.max(va, vb, vd, ve);
        for (const level of sorted) {
          if (level >= high) break;
          if (level < low) continue;
          const a = va - level, b = vb - level, d = vd - level, e = ve - level;
          const kind = (a > 0) | (b > 0) << 1 | (e > 0) << 2 | (d > 0) << 3;
          for (const [from, to] of SEGMENTS[kind]?.(a + b + d + e > 0) ?? []) {
            c.moveTo(...edge(from, i, j, a, b, d, e));
            c.lineTo(...edge(to, i, j, a, b, d, e));
          }
        }
      }
    }
    c.stroke();
    c.restore();
  }

  /* Arrows at the points of an n × n lattice along `vectors` (n·n × 2), lengths compressed to log(1 + 4|s|/median) as in plots.field. */
  arrows(vectors, n, {colour = this.colours.arrow, width = 1.15} = {}) {
    const sizes = new Float64Array(n * n);
    for (let k = 0; k < n * n; k += 1) sizes[k] = Math.hypot(vectors[2 * k], vectors[2 * k + 1]);
    const middle = Float64Array.from(sizes).sort()[n * n >> 1] || 1;
    const apart = Math.ceil(10.5 * (n - 1) / this.width);   // on a narrow picture every second arrow, or third
    const step = this.width / (n - 1), first = (n - 1) % apart >> 1, c = this.draw;
    let longest = 0;
    for (let k = 0; k < n * n; k += 1) longest = Math.max(longest, Math.log1p(4 * sizes[k] / middle));
    c.save();
    c.fillStyle = colour;
    const half = 0.5 * width;
    c.beginPath();
    for (let k = 0; k < n * n; k += 1) {
      const i = k % n, j = (k - i) / n;
      if (!(sizes[k] > 0) || i % apart !== first || j % apart !== first) continue;
      const length = 0.98 * apart * step * Math.log1p(4 * sizes[k] / middle) / (longest || 1);
      if (length < 0.7) continue;
      const ux = vectors[2 * k] / sizes[k], uy = -vectors[2 * k + 1] / sizes[k];
      const x = i * step - 0.5 * length * ux, y = this.height - j * step - 0.5 * length * uy;
      const head = Math.min(4.4, 0.5 * length), ex = x + length * ux, ey = y + length * uy;
      const nx = ex - head * ux, ny = ey - head * uy, px = -uy * half, py = ux * half, wx = -uy * 0.42 * head, wy = ux * 0.42 * head;
      c.moveTo(x + px, y + py);
      c.lineTo(nx + px, ny + py);
      c.lineTo(nx + wx, ny + wy);
      c.lineTo(ex, ey);
      c.lineTo(nx - wx, ny - wy);
      c.lineTo(nx - px, ny - py);
      c.lineTo(x - px, y - py);
    }
    c.fill();
    c.restore();
  }

  /* Streamlines of the field interpolated from an n × n lattice. */
  streamlines(vectors, n, options) { streamlines(this, vectors, n, options); }

  /* One arrow between two places, in the plane's units. */
  arrow([x0, y0], [x1, y1], {colour = this.colours.accent, width = 2.4, size = 9, dash = [], alpha = 1} = {}) {
    const c = this.draw;
    c.save();
    c.globalAlpha = alpha;
    c.strokeStyle = c.fillStyle = colour;
    c.lineWidth = width;
    c.lineCap = "round";
    c.setLineDash(dash);
    const ax = this.x(x0), ay = this.y(y0), bx = this.x(x1), by = this.y(y1);
    const length = Math.hypot(bx - ax, by - ay), tip = Math.min(size, 0.6 * length);
    const ux = (bx - ax) / (length || 1), uy = (by - ay) / (length || 1);
    if (length > 0.5) {
      c.beginPath();
      c.moveTo(ax, ay);
      c.lineTo(bx - 0.8 * tip * ux, by - 0.8 * tip * uy);
      c.stroke();
      c.setLineDash([]);
      c.beginPath();
      c.moveTo(bx, by);
      c.lineTo(bx - tip * ux + 0.45 * tip * uy, by - tip * uy - 0.45 * tip * ux);
      c.lineTo(bx - tip * ux - 0.45 * tip * uy, by - tip * uy + 0.45 * tip * ux);
      c.closePath();
      c.fill();
    }
    c.restore();
  }

  /* Points (m × 2, flat). `radius` and `alpha` may be functions of the index. */
  points(xy, {radius = 2, colour = this.colours.ink, alpha = 0.5} = {}) {
    const c = this.draw, r = typeof radius === "function" ? radius : () => radius;
    const opacity = typeof alpha === "function" ? alpha : () => alpha;
    c.save();
    c.fillStyle = colour;
    for (let k = 0; k < xy.length / 2; k += 1) {
      c.globalAlpha = opacity(k);
      c.beginPath();
      c.arc(this.x(xy[2 * k]), this.y(xy[2 * k + 1]), r(k), 0, 2 * Math.PI);
      c.fill();
    }
    c.restore();
  }

  /* A path through places [[x, y], …]. */
  line(places, {colour = this.colours.accent, width = 1.5, alpha = 1, dash = []} = {}) {
    const c = this.draw;
    c.save();
    c.globalAlpha = alpha;
    c.strokeStyle = colour;
    c.lineWidth = width;
    c.lineJoin = "round";
    c.setLineDash(dash);
    c.beginPath();
    places.forEach(([x, y], k) => c[k ? "lineTo" : "moveTo"](this.x(x), this.y(y)));
    c.stroke();
    c.restore();
  }

  text(words, [x, y], {colour = this.colours.ink, dx = 8, dy = -8, align = "left", size = 13} = {}) {
    const c = this.draw;
    c.save();
    c.font = `${size}px ui-sans-serif, system-ui, sans-serif`;
    c.textAlign = align;
    c.lineWidth = 4;
    c.lineJoin = "round";
    c.strokeStyle = this.colours.paper;
    c.strokeText(words, this.x(x) + dx, this.y(y) + dy);
    c.fillStyle = colour;
    c.fillText(words, this.x(x) + dx, this.y(y) + dy);
    c.restore();
  }

  /* Words in the upper left corner, on a ground of their own. */
  label(words) {
    const c = this.draw;
    c.save();
    c.font = "13px ui-sans-serif, system-ui, sans-serif";
    c.fillStyle = this.colours.paper;
    c.beginPath();
    c.roundRect(7, 7, c.measureText(words).width + 14, 23, 6);
    c.fill();
    c.fillStyle = this.colours.ink;
    c.fillText(words, 14, 23);
    c.restore();
  }

  ticks() {
    const c = this.draw;
    c.save();
    c.font = "11px ui-sans-serif, system-ui, sans-serif";
    c.lineWidth = 3;
    c.strokeStyle = this.colours.paper;
    c.fillStyle = this.colours.muted;
    for (let value = Math.ceil(-this.half) + 1; value < this.half; value += 1) {
      c.textAlign = "center";
      c.strokeText(String(value), this.x(value), this.height - 6);
      c.fillText(String(value), this.x(value), this.height - 6);
      c.textAlign = "left";
      c.strokeText(String(value), 6, this.y(value) + 4);
      c.fillText(String(value), 6, this.y(value) + 4);
    }
    c.restore();
  }
}

/* Which edges a level line joins, by the corners above it; the two saddles ask the mean of the corners. */
const B = 0, R = 1, T = 2, L = 3;
const one = (a, b) => { const both = [[a, b]]; return () => both; };
const SEGMENTS = {
  1: one(L, B), 2: one(B, R), 3: one(L, R), 4: one(R, T), 6: one(B, T), 7: one(L, T), 8: one(T, L), 9: one(T, B),
  11: one(T, R), 12: one(R, L), 13: one(R, B), 14: one(B, L),
  5: (above) => (above ? [[L, T], [B, R]] : [[L, B], [R, T]]),
  10: (above) => (above ? [[L, B], [R, T]] : [[L, T], [B, R]]),
};

/* Levels below the maximum of log p at which to draw contours, in nats. */
export const LEVELS = [0.3, 1, 2, 3, 4.5, 6, 8, 12];

/* A bar that says what the colours mean. */
export function legend(parent) {
  const figure = document.createElement("div");
  figure.className = "legend";
  const name = document.createElement("span"), low = document.createElement("span"), high = document.createElement("span");
  const canvas = document.createElement("canvas");
  canvas.width = 128;
  canvas.height = 1;
  canvas.setAttribute("aria-hidden", "true");
  name.className = "what";
  figure.append(name, low, canvas, high);
  parent.append(figure);
  return {
    show(title, scale, [from, to]) {
      figure.hidden = false;
      const c = canvas.getContext("2d"), picture = c.createImageData(128, 1);
      for (let k = 0; k < 128; k += 1) picture.data.set([...scale(k / 127).map(Math.round), 255], 4 * k);
      c.putImageData(picture, 0, 0);
      name.textContent = title;
      low.textContent = Number(from.toPrecision(2));
      high.textContent = Number(to.toPrecision(2));
    },
    hide() { figure.hidden = true; },
  };
}
