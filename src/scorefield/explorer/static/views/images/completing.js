/* Completing: draw a part of a digit, and see several ways in which the model goes on. */

import {button, node} from "../../lib/controls.js";
import {sketch} from "../../lib/pad.js";
import {decode, encode, tile, unpackImages} from "../../lib/pixels.js";

export const completing = {
  address: "completion",
  body: (state, {run, label}) => ({
    run, label, n: state.n, seed: state.seed, steps: Math.max(2, state.steps), drawing: state.drawing, example: state.example, region: state.region,
    share: Number(state.share.toFixed(2)), method: state.method, weight: Number(state.weight.toFixed(2)),
  }),

  /* Why it cannot be asked yet, or nothing. */
  missing(state, {levels}) {
    const {drawing, region} = state;
    if (!drawing || region !== "ink" || !levels) return "";
    return decode(drawing, levels[0].length).some((v) => v > 0.125) ? "" : "The sheet is empty: draw something, or let a side of the image be known instead.";
  },

  make(parent, {model, set, context}) {
    const [channels, height, width] = model.shape, size = height * width;
    const left = node("div", {}), tiles = node("div", {className: "tiles", role: "img"});
    const note = node("p", {className: "caption"});
    parent.append(node("div", {className: "drawing"}, left, node("div", {className: "sheet"}, tiles, note)));
    let made = [], seen = null, end = null, plan = null, latest = null;

    const pad = channels === 1 ? sketch(left, {
      width, height,
      changed: (levels) => set({drawing: encode(levels)}),
      said: context.announce,
    }) : null;
    const pen = button("Pen", () => tool(false)), rub = button("Eraser", () => tool(true));
    const clear = button("Clear", () => pad.clear());
    const more = button("Other completions", () => set({seed: (context.state.seed + 1) % 1000000}));
    function tool(erasing) {
      if (pad) pad.erasing = erasing;
      pen.element.setAttribute("aria-pressed", String(!erasing));
      rub.element.setAttribute("aria-pressed", String(erasing));
    }
    tool(false);
    const thumbs = model.images.map((image, k) => {
      const small = tile(), press = node("button", {type: "button", "aria-label": `Example ${k + 1}${model.labels ? `, a ${model.labels[k]}` : ""}`}, small.element);
      small.show(image);
      press.addEventListener("click", () => set({drawing: "", example: k}));
      return {...small, press};
    });
    left.append(
      node("div", {className: "tools"}, ...(pad ? [pen.element, rub.element, clear.element] : []), more.element),
      node("p", {className: "hint", text: pad ? "Draw with pen, finger or keys; what lies under the veil is left to the model. Or begin with a digit that it never saw:" : "Begin with an image that the model never saw:"}),
      node("div", {className: "examples", role: "group", "aria-label": "Examples"}, ...thumbs.map(({press}) => press)),
    );

    function lay(n) {
      made = Array.from({length: n}, () => {
        const one = {picture: tile(), near: tile(), caption: node("p", {className: "caption"})};
        one.element = node("div", {className: "card"}, one.picture.element, node("div", {className: "beside"}, one.near.element, one.caption));
        return one;
      });
      tiles.style.setProperty("--tile", n <= 4 ? "200px" : "130px");
      tiles.replaceChildren(...made.map(({element}) => element));
    }

    return {
      show(event) {
        if (event.kind === "plan") {
          plan = event;
          seen = Uint8Array.from(event.seen);
          end = null;
          latest = unpackImages(event.noisy);
          if (made.length !== latest.length) lay(latest.length);
        } else if (event.kind === "state") {
          latest = unpackImages(event.clean ?? event.noisy);
        } else if (event.kind === "end") {
          latest = unpackImages(event.images);
          end = {...event, nearest: event.nearest && unpackImages(event.nearest)};
        }
        made.forEach((one, k) => {
          one.picture.show(latest[k], seen);
          one.near.show(end?.nearest?.[k] ?? null);
          one.caption.textContent = [plan.labels && `as a ${plan.labels[k]}`, end?.nearest && `${end.distances[k].toFixed(1)} away`].filter(Boolean).join("; ");
        });
        note.textContent = end?.nearest ? `Small: the nearest of all training images, and how far away it is; digits that the model never saw are ${end.usual.toFixed(1)} away in the median.` : end?.why ?? "";
        tiles.setAttribute("aria-label", end
          ? `${made.length} completions${plan.labels ? ` as ${plan.labels.join(", ")}` : ""}; the known part is outlined, and missed by at most ${Math.max(...end.missed)}.`
          : "Completions are being drawn.");
      },
      update(state) {
        if (pad) {
          const levels = state.drawing ? decode(state.drawing, size) : model.levels[state.example];
          if (encode(pad.levels) !== encode(levels)) pad.set(levels);
          pad.known(region(state.region, state.share, levels, width, height));
        }
        thumbs.forEach(({press}, k) => press.setAttribute("aria-pressed", String(!state.drawing && k === state.example)));
      },
      paint() {
        pad?.paint();
        for (const one of made) { one.picture.paint(); one.near.paint(); }
        thumbs.forEach((each) => each.paint());
      },
      numbers() {
        const rows = [
          ["Known pixels", `${seen.reduce((a, b) => a + b, 0)} of ${size}`, "outlined in every completion"],
          ["Known part missed by", end.missed.join(", "), "root mean square, in pixels from −1 to 1; moment matching takes them to be 0.05 uncertain"],
          ["Time", `${end.seconds.toFixed(2)} s`, "for all of them, on this machine"],
        ];
        if (end.nearest) rows.push(["Nearest training image", end.distances.join(", "), `distance of each; held-out digits have ${end.usual} in the median`]);
        return rows;
      },
      said: () => `${made.length} completions are drawn.`,
      stop() { pad?.stop(); },
    };
  },
};

/* What is known of a sheet, as canvas.py has it: a side, or the ink with the pixels about it. */
export function region(side, share, levels, width, height) {
  const known = new Uint8Array(width * height), inked = levels.map((v) => Math.round(15 * v) / 7.5 - 1 > -0.75);
  for (let j = 0; j < height; j += 1) {
    for (let i = 0; i < width; i += 1) {
      if (side !== "ink") {
        const line = {top: j, bottom: height - 1 - j, left: i, right: width - 1 - i}[side];
        known[j * width + i] = line < even(share * (side === "top" || side === "bottom" ? height : width)) ? 1 : 0;
      } else {
        for (let b = Math.max(0, j - 1); b <= Math.min(height - 1, j + 1); b += 1) {
          for (let a = Math.max(0, i - 1); a <= Math.min(width - 1, i + 1); a += 1) if (inked[b * width + a]) known[j * width + i] = 1;
        }
      }
    }
  }
  return known;
}

/* Python's round: halves go to the even number. */
const even = (v) => (Math.abs(v % 1 - 0.5) < 1e-9 ? 2 * Math.round(v / 2) : Math.round(v));
