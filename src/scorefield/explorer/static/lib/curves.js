/* Lines over an axis that goes both ways, with ticks, a key and a mark; logarithmic in both directions where asked.

     const chart = new Curves(parent);
     chart.show({across: "x", up: "s", x: [...], lines: [{name, y: [...]}], logarithmic: false, mark: 0.4}); */

import {theme} from "./colour.js";
import {node} from "./controls.js";

export const INKS = ["accent", "warm", "second", "muted"];
const ROOM = {left: 54, right: 16, top: 30, bottom: 36};

export class Curves {
  constructor(parent) {
    this.data = null;
    this.canvas = node("canvas", {role: "img", "aria-label": "Curves"});
    this.box = node("div", {className: "plot"}, this.canvas);
    this.keys = node("p", {className: "keys"});
    parent.append(this.box, this.keys);
    this.watch = new ResizeObserver(() => this.render());
    this.watch.observe(this.box);
  }

  stop() { this.watch.disconnect(); }

  describe(text) { this.canvas.setAttribute("aria-label", text); }

  show(data) {
    this.data = data;
    this.keys.replaceChildren(...data.lines.map(({name}) => node("span", {text: name})));
    this.render();
  }

  render() {
    const width = this.box.clientWidth || 300, height = Math.round(width * 0.72), dense = Math.min(3, window.devicePixelRatio || 1);
    Object.assign(this.canvas, {width: Math.round(width * dense), height: Math.round(height * dense)});
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    const c = this.canvas.getContext("2d"), colours = theme();
    c.setTransform(dense, 0, 0, dense, 0, 0);
    c.fillStyle = colours.paper;
    c.fillRect(0, 0, width, height);
    if (!this.data) return;
    const {x, lines, logarithmic, mark} = this.data, {left, right, top, bottom} = ROOM, to = logarithmic ? Math.log10 : (v) => v;
    const across = range(x.map(to), 0), up = range(lines.flatMap(({y}) => y.map(to)).filter(Number.isFinite), 0.06);
    const px = (v) => left + (to(v) - across[0]) / (across[1] - across[0]) * (width - left - right);
    const py = (v) => height - bottom - (to(v) - up[0]) / (up[1] - up[0]) * (height - top - bottom);
    c.font = "11.5px ui-sans-serif, system-ui, sans-serif";
    c.fillStyle = colours.muted;
    c.strokeStyle = colours.line;
    for (const value of ticks(up, logarithmic, 5)) {
      c.beginPath();
      c.moveTo(left, py(value));
      c.lineTo(width - right, py(value));
      c.stroke();
      c.textAlign = "right";
      c.fillText(written(value), left - 8, py(value) + 4);
    }
    for (const value of ticks(across, logarithmic, Math.max(3, Math.floor(width / 80)))) {
      c.textAlign = "center";
      c.fillText(written(value), px(value), height - bottom + 17);
    }
    c.textAlign = "left";
    c.fillText(this.data.up, 12, 18);
    c.textAlign = "right";
    c.fillText(this.data.across, width - right, height - 5);
    c.save();
    c.beginPath();
    c.rect(left, top - 8, width - left - right, height - top - bottom + 16);
    c.clip();
    if (mark !== null && mark !== undefined) {
      c.strokeStyle = colours.muted;
      c.setLineDash([4, 4]);
      c.beginPath();
      c.moveTo(px(mark), top);
      c.lineTo(px(mark), height - bottom);
      c.stroke();
    }
    c.lineWidth = 2.2;
    c.lineJoin = "round";
    lines.forEach(({y}, k) => {
      c.strokeStyle = colours[INKS[k % 4]];
      this.keys.children[k]?.style.setProperty("--key", c.strokeStyle);
      c.setLineDash(k === 1 ? [7, 4] : []);
      c.beginPath();
      y.forEach((value, i) => c[i ? "lineTo" : "moveTo"](px(x[i]), py(value)));
      c.stroke();
    });
    c.restore();
  }
}

function range(values, margin) {
  const low = Math.min(...values), high = Math.max(...values), wide = high - low || Math.abs(high) || 1;
  return high > low ? [low - margin * wide, high + margin * wide] : [low - 0.5 * wide, high + 0.5 * wide];
}

/* Round values inside a range; where it is of logarithms, the powers of ten, or 1, 2, 5 of them where these are few. */
function ticks([low, high], logarithmic, most) {
  const found = [];
  if (logarithmic) {
    const factors = high - low < 2 ? [1, 2, 5] : [1], every = Math.max(1, Math.ceil((high - low) / most));
    for (let power = Math.floor(low); power <= high; power += every) for (const factor of factors) found.push(factor * 10 ** power);
    return found.filter((v) => Math.log10(v) >= low - 1e-9 && Math.log10(v) <= high + 1e-9);
  }
  const rough = 10 ** Math.floor(Math.log10((high - low) / most));
  const step = [1, 2, 5, 10].map((factor) => factor * rough).find((each) => (high - low) / each <= most);
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k += 1) found.push(k * step);
  return found;
}

const written = (value) => (value !== 0 && (Math.abs(value) >= 1e5 || Math.abs(value) < 1e-3) ? value.toExponential(0) : String(Number(value.toPrecision(3))));
