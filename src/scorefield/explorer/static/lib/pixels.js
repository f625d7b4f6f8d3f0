/* Images on canvases: bytes of the server as ink on paper in the theme's colours, and drawings as the text of a link. */

import {rgb, theme} from "./colour.js";

/* {shape: [n, channels, height, width], uint8} as n arrays of bytes, channel by channel. */
export function unpackImages({shape, uint8}) {
  const bytes = Uint8Array.from(atob(uint8), (letter) => letter.charCodeAt(0));
  const [n, channels, height, width] = shape, size = channels * height * width;
  return Array.from({length: n}, (_, k) => ({channels, height, width, bytes: bytes.subarray(k * size, (k + 1) * size)}));
}

/* A canvas that shows one image, crisp at any size; `seen` outlines the pixels that were known. */
export function tile(className = "tile") {
  const canvas = document.createElement("canvas");
  canvas.className = className;
  canvas.width = canvas.height = 28;
  let shown = null, outline = null;
  function paint() {
    if (!shown) return;
    const factor = outline ? 8 : 1;
    canvas.width = shown.width * factor;
    canvas.height = shown.height * factor;
    const draw = canvas.getContext("2d");
    if (factor === 1) { draw.putImageData(picture(shown), 0, 0); return; }
    const small = document.createElement("canvas");
    small.width = shown.width;
    small.height = shown.height;
    small.getContext("2d").putImageData(picture(shown), 0, 0);
    draw.imageSmoothingEnabled = false;
    draw.drawImage(small, 0, 0, canvas.width, canvas.height);
    frame(draw, outline, shown.width, shown.height, factor, theme().accent, 2);
  }
  return {
    element: canvas,
    show(image, seen = null) { shown = image; outline = seen; canvas.hidden = image === null; paint(); },
    get image() { return shown; },
    paint,
  };
}

/* Ink on paper: 0 is the paper and 255 the ink, whatever the theme; three channels are shown as they are. */
export function picture({channels, height, width, bytes}) {
  const made = new ImageData(width, height), size = height * width;
  const colours = theme(), paper = rgb(colours.paper), ink = rgb(colours.ink);
  for (let k = 0; k < size; k += 1) {
    for (let c = 0; c < 3; c += 1) {
      const value = bytes[channels === 3 ? c * size + k : k];
      made.data[4 * k + c] = channels === 3 ? value : paper[c] + (ink[c] - paper[c]) * value / 255;
    }
    made.data[4 * k + 3] = 255;
  }
  return made;
}

/* Lines between pixels that were known and pixels that were not. */
export function frame(draw, seen, width, height, factor, colour, line) {
  draw.save();
  draw.strokeStyle = colour;
  draw.lineWidth = line;
  draw.beginPath();
  const at = (i, j) => (i < 0 || j < 0 || i >= width || j >= height ? 0 : seen[j * width + i]);
  for (let j = 0; j <= height; j += 1) {
    for (let i = 0; i <= width; i += 1) {
      if (at(i, j) !== at(i - 1, j) && j < height) { draw.moveTo(i * factor, j * factor); draw.lineTo(i * factor, (j + 1) * factor); }
      if (at(i, j) !== at(i, j - 1) && i < width) { draw.moveTo(i * factor, j * factor); draw.lineTo((i + 1) * factor, j * factor); }
    }
  }
  draw.stroke();
  draw.restore();
}

/* Drawings in links: four bits a pixel, base64url, as canvas.py reads them. */
export function encode(levels) {
  let bytes = "";
  for (let k = 0; k < levels.length; k += 2) {
    const pair = [levels[k], levels[k + 1] ?? 0].map((v) => Math.max(0, Math.min(15, Math.round(15 * v))));
    bytes += String.fromCharCode(pair[0] << 4 | pair[1]);
  }
  return btoa(bytes).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

export function decode(text, size) {
  const levels = new Float32Array(size);
  let bytes;
  try { bytes = atob(text.replace(/-/g, "+").replace(/_/g, "/")); } catch { return levels; }
  if (bytes.length !== Math.ceil(size / 2)) return levels;
  for (let k = 0; k < size; k += 1) {
    const pair = bytes.charCodeAt(k >> 1);
    levels[k] = (k % 2 ? pair & 15 : pair >> 4) / 15;
  }
  return levels;
}
