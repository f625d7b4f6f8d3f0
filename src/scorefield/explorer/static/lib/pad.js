/* A sheet to draw on with pen, finger or keys, as many pixels as the model's images have.

     const pad = sketch(parent, {width: 28, height: 28, changed: (levels) => …, said: (text) => …});
     pad.set(levels);  pad.known(seen);  pad.erasing = true;  pad.clear();

   `changed` is called when a stroke ends. Arrow keys move a cursor, space draws, backspace rubs out; both go on while shift is held. */

import {frame, picture} from "./pixels.js";
import {theme} from "./colour.js";

const RADIUS = 1.35;

export function sketch(parent, {width, height, changed, said}) {
  const canvas = document.createElement("canvas");
  canvas.className = "pad";
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-roledescription", "drawing sheet");
  parent.append(canvas);
  const draw = canvas.getContext("2d"), small = document.createElement("canvas");
  small.width = width;
  small.height = height;
  let levels = new Float32Array(width * height), seen = null, last = null, stroke = false, cursor = null;
  const pad = {element: canvas, erasing: false, get levels() { return levels; }, set, known, clear, paint, stop: () => watch.disconnect()};

  const watch = new ResizeObserver(() => paint());
  watch.observe(canvas);

  function paint() {
    const dense = Math.min(3, window.devicePixelRatio || 1), side = canvas.clientWidth || 280, factor = side * dense / width;
    canvas.width = Math.round(side * dense);
    canvas.height = Math.round(canvas.width * height / width);
    const colours = theme(), bytes = Uint8Array.from(levels, (v) => Math.round(255 * v));
    small.getContext("2d").putImageData(picture({channels: 1, height, width, bytes}), 0, 0);
    draw.imageSmoothingEnabled = false;
    draw.drawImage(small, 0, 0, canvas.width, canvas.height);
    if (seen) {
      const veil = new Path2D();
      for (let k = 0; k < seen.length; k += 1) {
        const [i, j] = [k % width, Math.floor(k / width)], x = Math.round(i * factor), y = Math.round(j * factor);
        if (!seen[k]) veil.rect(x, y, Math.round((i + 1) * factor) - x, Math.round((j + 1) * factor) - y);
      }
      draw.fillStyle = colours.line;
      draw.globalAlpha = 0.8;
      draw.fill(veil);
      draw.globalAlpha = 1;
      frame(draw, seen, width, height, factor, colours.accent, 2 * dense);
    }
    if (cursor && document.activeElement === canvas) {
      draw.strokeStyle = colours.warm;
      draw.lineWidth = 2.5 * dense;
      draw.strokeRect(cursor[0] * factor, cursor[1] * factor, factor, factor);
    }
  }

  function set(next) { levels = Float32Array.from(next); label(); paint(); }
  function known(next) { seen = next; paint(); }
  function clear() { levels = new Float32Array(width * height); label(); paint(); changed(levels); }

  function label() {
    const inked = levels.reduce((sum, v) => sum + (v > 0.3), 0);
    canvas.setAttribute("aria-label", `Drawing sheet of ${width} by ${height} pixels, ${inked} of them inked. Arrow keys move, space draws, backspace rubs out; hold shift to go on while moving.`);
  }

  /* Ink along a line from one place to another, soft at its edge, like a pen's. */
  function ink([x0, y0], [x1, y1], rub) {
    const dx = x1 - x0, dy = y1 - y0, square = dx * dx + dy * dy;
    for (let j = 0; j < height; j += 1) {
      for (let i = 0; i < width; i += 1) {
        const px = i + 0.5 - x0, py = j + 0.5 - y0, t = square ? Math.max(0, Math.min(1, (px * dx + py * dy) / square)) : 0;
        const far = Math.hypot(px - t * dx, py - t * dy), strength = Math.max(0, Math.min(1, RADIUS + 0.5 - far));
        const k = j * width + i;
        levels[k] = rub ? Math.min(levels[k], 1 - strength) : Math.max(levels[k], strength);
      }
    }
  }

  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width * width, (event.clientY - box.top) / box.height * height];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button > 0 && event.button !== 5) return;
    event.preventDefault();
    canvas.focus({preventScroll: true});
    canvas.setPointerCapture(event.pointerId);
    stroke = true;
    cursor = null;
    last = place(event);
    ink(last, last, pad.erasing || event.button === 5);
    paint();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!stroke) return;
    const next = place(event);
    ink(last, next, pad.erasing || (event.buttons & 32) > 0);
    last = next;
    paint();
  });
  const lift = () => {
    if (!stroke) return;
    stroke = false;
    label();
    changed(levels);
  };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("focus", () => { if (!stroke) { cursor ??= [width >> 1, height >> 2]; } paint(); });
  canvas.addEventListener("blur", () => { paint(); });
  canvas.addEventListener("keydown", (event) => {
    const hop = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
    const rub = event.key === "Backspace" || event.key === "Delete", mark = event.key === " " || event.key === "Enter";
    if (!hop && !rub && !mark) return;
    event.preventDefault();
    cursor ??= [width >> 1, height >> 2];
    const from = cursor;
    if (hop) cursor = [Math.max(0, Math.min(width - 1, from[0] + hop[0])), Math.max(0, Math.min(height - 1, from[1] + hop[1]))];
    if (!hop || event.shiftKey) {
      ink(from.map((v) => v + 0.5), cursor.map((v) => v + 0.5), rub || (Boolean(hop) && pad.erasing));
      label();
      changed(levels);
    }
    paint();
    said(`Row ${cursor[1] + 1}, column ${cursor[0] + 1}${levels[cursor[1] * width + cursor[0]] > 0.3 ? ", inked" : ""}`);
  });
  label();
  return pad;
}
