/* Curves against one axis: sharp on every screen, few ticks, colours from the style sheet.

     const chart = new Chart(parent, {label: "…", across: "evaluations", up: "distance", log: true});
     chart.show({curves: [{name, colour: "accent", points: [[x, y], …], dots: false, dash: []}], floors: [{name, value, spread, colour}], marks: [x, …]});
     chart.describe("What is seen, with numbers.");                                  // the picture's text alternative

   `log: true` makes the vertical axis logarithmic, `logAcross: true` the other; values that are not positive are then left out. */

import {theme} from "./colour.js";
import {node} from "./controls.js";

const ROOM = {left: 52, right: 12, top: 12, bottom: 34};

export class Chart {
  constructor(parent, {label = "", across = "", up = "", log = false, logAcross = false, height = 210} = {}) {
    Object.assign(this, {across, up, log, logAcross, height, curves: [], floors: [], marks: [], frame: 0});
    this.canvas = node("canvas", {role: "img", "aria-label": label});
    this.keys = node("div", {className: "keys"});
    this.box = node("figure", {className: "chart"}, node("figcaption", {text: label}), this.canvas, this.keys);
    parent.append(this.box);
    this.draw = this.canvas.getContext("2d");
    this.watch = new ResizeObserver(() => this.refresh());
    this.watch.observe(this.box);
  }

  stop() { this.watch.disconnect(); cancelAnimationFrame(this.frame); }

  describe(text) { this.canvas.setAttribute("aria-label", text); }

  title(text) { this.box.firstChild.textContent = text; }

  show({curves, floors = [], marks = []}) {
    Object.assign(this, {curves, floors, marks});
    const names = JSON.stringify([...curves, ...floors].map(({name, colour}) => [name, colour]));
    if (names !== this.named) {
      this.named = names;
      this.keys.replaceChildren(...[...curves, ...floors].filter(({name}) => name).map(({name, colour}) => {
        const key = node("span", {text: name});
        key.style.setProperty("--key", `var(--${colour})`);
        return key;
      }));
    }
    this.refresh();
  }

  refresh() {
    if (!this.frame) this.frame = requestAnimationFrame(() => { this.frame = 0; this.render(); });
  }

  ranges() {
    const good = (v) => Number.isFinite(v) && (!this.log || v > 0);
    const points = this.curves.flatMap(({points: each}) => each).filter(([x, y]) => Number.isFinite(x) && good(y));
    const xs = points.map(([x]) => x), ys = [...points.map(([, y]) => y), ...this.floors.map(({value}) => value).filter(good)];
    let [low, high] = ys.length ? [Math.min(...ys), Math.max(...ys)] : [this.log ? 0.1 : 0, 1];
    if (this.log) { low /= 1.35; high *= 1.35; if (high / low < 10) { const middle = Math.sqrt(low * high); low = Math.min(low, middle / 3.2); high = Math.max(high, middle * 3.2); } }
    else { const room = 0.06 * (high - low || Math.abs(high) || 1); low -= room; high += room; }
    return {across: [this.logAcross ? Math.min(...xs, 1e9) : 0, Math.max(this.most ?? 0, ...xs, 1e-9)], up: [low, high]};
  }

  render() {
    const width = this.canvas.parentElement.clientWidth || 300, dense = Math.min(3, window.devicePixelRatio || 1);
    this.canvas.width = Math.round(width * dense);
    this.canvas.height = Math.round(this.height * dense);
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${this.height}px`;
    const c = this.draw, colours = theme(), {across: [left, right], up: [low, high]} = this.ranges();
    const to = this.log ? Math.log : (v) => v;
    const along = this.logAcross ? Math.log : (v) => v;
    const x = (v) => ROOM.left + (along(v) - along(left)) / (along(right) - along(left)) * (width - ROOM.left - ROOM.right);
    const y = (v) => this.height - ROOM.bottom - (to(v) - to(low)) / (to(high) - to(low)) * (this.height - ROOM.top - ROOM.bottom);
    const of = (name) => colours[name] ?? colours.ink;
    c.setTransform(dense, 0, 0, dense, 0, 0);
    c.clearRect(0, 0, width, this.height);
    c.font = "11px ui-sans-serif, system-ui, sans-serif";
    c.textBaseline = "middle";
    for (const value of this.log ? decades(low, high) : even(low, high, 4)) {
      c.strokeStyle = colours.line;
      c.lineWidth = 1;
      c.beginPath();
      c.moveTo(ROOM.left, Math.round(y(value)) + 0.5);
      c.lineTo(width - ROOM.right, Math.round(y(value)) + 0.5);
      c.stroke();
      c.fillStyle = colours.muted;
      c.textAlign = "right";
      c.fillText(Number(value.toPrecision(3)), ROOM.left - 8, y(value));
    }
    c.textAlign = "center";
    for (const value of this.logAcross ? decades(left, right) : even(0, right, Math.max(2, Math.floor(width / 110)))) {
      c.fillText(short(value), Math.min(width - 16, Math.max(ROOM.left, x(value))), this.height - ROOM.bottom + 13);
    }
    c.fillText(this.across, (ROOM.left + width - ROOM.right) / 2, this.height - 7);
    for (const {value, spread = 0, colour} of this.floors) {
      if (!Number.isFinite(value) || (this.log && value <= 0)) continue;
      if (spread) {
        const above = y(Math.min(high, value + spread)), below = y(Math.max(low, value - spread));
        c.fillStyle = of(colour);
        c.globalAlpha = 0.13;
        c.fillRect(ROOM.left, above, width - ROOM.left - ROOM.right, below - above);
        c.globalAlpha = 1;
      }
      c.strokeStyle = of(colour);
      c.setLineDash([5, 4]);
      c.lineWidth = 1.3;
      c.beginPath();
      c.moveTo(ROOM.left, y(value));
      c.lineTo(width - ROOM.right, y(value));
      c.stroke();
      c.setLineDash([]);
    }
    for (const mark of this.marks) {
      c.strokeStyle = colours.muted;
      c.globalAlpha = 0.6;
      c.beginPath();
      c.moveTo(x(mark), ROOM.top);
      c.lineTo(x(mark), this.height - ROOM.bottom);
      c.stroke();
      c.globalAlpha = 1;
    }
    for (const {points, colour, dots = false, dash = [], width: thick = 2} of this.curves) {
      const seen = points.filter(([, v]) => Number.isFinite(v) && (!this.log || v > 0));
      c.strokeStyle = c.fillStyle = of(colour);
      c.lineWidth = thick;
      c.lineJoin = "round";
      c.setLineDash(dash);
      c.beginPath();
      seen.forEach(([u, v], k) => c[k ? "lineTo" : "moveTo"](x(u), y(v)));
      c.stroke();
      c.setLineDash([]);
      if (!dots) continue;
      for (const [u, v] of seen) {
        c.beginPath();
        c.arc(x(u), y(v), 3.6, 0, 2 * Math.PI);
        c.fill();
      }
    }
  }
}

/* "0.064 ± 0.002": a number to the digits that its error allows. */
export function estimate({value, error}) {
  if (!Number.isFinite(value)) return "not finite";
  const digits = error > 0 ? Math.min(4, Math.max(0, -Math.floor(Math.log10(Number(error.toPrecision(1)))))) : 3;
  return `${value.toFixed(digits).replace(/^-(0\.?0*)$/, "$1")} ± ${(error ?? 0).toFixed(digits)}`;
}

const short = (v) => (v >= 10000 ? `${Number((v / 1000).toPrecision(3))}k` : String(Number(v.toPrecision(3))));

function even(low, high, count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw || 1));
  const step = [1, 2, 5, 10].map((k) => k * power).find((each) => each >= raw) || 1;
  const ticks = [];
  for (let value = Math.ceil(low / step) * step; value <= high + 1e-9 * step; value += step) ticks.push(Number(value.toPrecision(12)));
  return ticks;
}

function decades(low, high) {
  const ticks = [], fine = high / low < 60 ? [1, 2, 5] : [1];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
    for (const k of fine) {
      const value = k * 10 ** power;
      if (value >= low && value <= high) ticks.push(value);
    }
  }
  return ticks;
}
