/* One walk as a panel: the particles over the density behind them, the sampler's name, whether it is stable, and where the clock stands. */

import {unpack} from "./api.js";
import {shade} from "./colour.js";
import {node} from "./controls.js";
import {LEVELS, Plot} from "./plot.js";
import {titled} from "./samplers.js";

const TRAIL = 5;

/* One panel: a picture, its sampler's name, and what is known of the walk so far. */
export class Track {
  constructor(parent, colour) {
    this.colour = colour;
    this.name = node("h2", {className: "name"});
    this.where = node("p", {className: "where"});
    this.says = node("p", {className: "says"});
    this.fill = node("span", {className: "fill"});
    this.value = node("span", {className: "value"});
    this.meter = node("div", {className: "meter", hidden: true}, node("span", {className: "track"}, this.fill, node("span", {className: "bound"})), this.value);
    this.element = node("div", {className: "walker"}, this.name);
    parent.append(this.element);
    this.plot = new Plot(this.element, {label: "Particles"});
    this.element.append(this.where, this.meter, this.says);
    this.clear("");
  }

  clear(sampler) {
    Object.assign(this, {sampler, plan: null, frames: [], end: null, exploded: null, rungs: [], behind: null});
    this.name.textContent = sampler ? titled(sampler) : "";
    this.where.textContent = "Walking …";
    this.meter.hidden = true;
    this.says.textContent = "";
  }

  get over() { return this.end !== null || this.exploded !== null || this.failed; }
  get last() { return this.frames.at(-1)?.evaluations ?? 0; }

  take(line) {
    if (line.kind === "plan") { this.plan = line; this.gauge(); }
    if (line.kind === "state") {
      this.frames.push({...line, xy: unpack(line.x), x: null, backdrop: line.backdrop ? unpack(line.backdrop) : null});
    }
    if (line.kind === "end") this.end = line;
    if (line.kind === "exploded") this.exploded = line;
    if (line.kind === "rung") this.rungs.push(line);
  }

  gauge() {
    const {stability, says} = this.plan;
    this.says.textContent = says;
    this.meter.hidden = !stability;
    if (!stability) return;
    const top = 1.5 * (stability.bound ?? Math.max(2, stability.value));
    this.fill.style.width = `${Math.min(100, 100 * stability.value / top)}%`;
    this.meter.classList.toggle("bad", !stability.stable);
    this.meter.classList.toggle("unbounded", stability.bound === null);
    this.value.textContent = `${stability.symbol} = ${Number(stability.value.toPrecision(3))}${stability.bound === null ? "" : ` of ${stability.bound}`}`;
  }

  /* Between which frames the clock stands, and how far. */
  place(clock) {
    let k = 0;
    while (k < this.frames.length - 1 && this.frames[k + 1].evaluations <= clock) k += 1;
    const here = this.frames[k], next = this.frames[k + 1];
    const part = next ? Math.min(1, Math.max(0, (clock - here.evaluations) / (next.evaluations - here.evaluations || 1))) : 0;
    return [k, part];
  }

  paint(p, clock) {
    if (!this.frames.length) return;
    const [k, part] = this.place(clock), colours = p.colours;
    let back = k;
    while (back > 0 && !this.frames[back].backdrop) back -= 1;
    if (this.frames[back].backdrop) this.scene(p, back);
    const here = this.frames[k].xy, next = this.frames[k + 1]?.xy ?? here, n = here.length / 2;
    const now = new Float32Array(here.length);
    for (let i = 0; i < here.length; i += 1) now[i] = here[i] + part * (next[i] - here[i]);
    const c = p.draw, first = Math.max(0, k - TRAIL), colour = colours[this.colour];
    c.save();
    c.strokeStyle = colour;
    c.lineWidth = 1;
    c.globalAlpha = Math.min(0.45, 60 / n);
    c.beginPath();
    for (let i = 0; i < n; i += 1) {
      for (let f = first; f <= k; f += 1) {
        const at = this.frames[f].xy;
        c[f === first ? "moveTo" : "lineTo"](p.x(clip(at[2 * i])), p.y(clip(at[2 * i + 1])));
      }
      c.lineTo(p.x(clip(now[2 * i])), p.y(clip(now[2 * i + 1])));
    }
    c.stroke();
    c.restore();
    const r = n > 700 ? 1.7 : 2.3, outside = [];
    c.save();
    c.fillStyle = colour;
    c.globalAlpha = 0.85;
    c.beginPath();
    for (let i = 0; i < n; i += 1) {
      const u = now[2 * i], v = now[2 * i + 1], far = Math.max(Math.abs(u), Math.abs(v));
      if (far > 3) { outside.push(2.96 * u / far, 2.96 * v / far); continue; }
      c.moveTo(p.x(u) + r, p.y(v));
      c.arc(p.x(u), p.y(v), r, 0, 2 * Math.PI);
    }
    c.fill();
    c.restore();
    p.points(outside, {radius: 3, colour: colours.bad, alpha: 0.8});
  }

  /* The density behind the particles, drawn once for each of its frames and kept as a picture. */
  scene(p, frame) {
    const key = [frame, p.canvas.width, p.canvas.height, p.colours.dark].join();
    const c = p.draw;
    c.save();
    if (this.behind?.key !== key) {
      const values = this.frames[frame].backdrop, n = values.shape[0], top = values.reduce((a, b) => Math.max(a, b), -Infinity);
      p.heat(values.map((v) => Math.exp(0.28 * (v - top))), n, {scale: shade(p.colours.density, p.colours.dark ? 0.6 : 0.5, p.colours), range: [0, 1]});
      p.contours(values, n, LEVELS.map((below) => top - below), {colour: p.colours.ink, alpha: 0.13});
      this.kept ??= document.createElement("canvas");
      this.kept.width = p.canvas.width;
      this.kept.height = p.canvas.height;
      this.kept.getContext("2d").drawImage(p.canvas, 0, 0);
      this.behind = {key};
    } else {
      c.setTransform(1, 0, 0, 1, 0, 0);
      c.drawImage(this.kept, 0, 0);
    }
    c.restore();
  }

  /* Words for where the clock stands. */
  tell(clock, n) {
    if (!this.frames.length) return;
    const [k] = this.place(clock), frame = this.frames[k];
    const parts = [`step ${frame.step} of ${this.plan.steps}`, `${frame.evaluations} evaluations`];
    if (frame.level !== undefined) parts.push(`σ/α = ${Number(frame.level.toPrecision(2))}`);
    if (frame.outside) parts.push(`${frame.outside} of ${n} outside`);
    const gone = this.exploded && k === this.frames.length - 1;
    this.where.textContent = gone ? `Exploded at step ${this.exploded.step}: the walk was stopped.` : parts.join(" · ");
    this.where.classList.toggle("bad", Boolean(gone));
  }

  distance(clock) {
    const [k] = this.frames.length ? this.place(clock) : [-1];
    for (let j = k; j >= 0; j -= 1) if (this.frames[j].distance) return this.frames[j].distance;
    return null;
  }
}

const clip = (v) => Math.max(-40, Math.min(40, v));
