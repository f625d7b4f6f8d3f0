/* Between two: both digits walk up to their noise, the way between is a great circle there, and its points walk down again. */

import {node, slider} from "../../lib/controls.js";
import {tile, unpackImages} from "../../lib/pixels.js";

const FRAMES = 9;

export const between = {
  address: "path",
  body: (state, {run}) => ({run, start: state.start, stop: state.stop, frames: FRAMES, steps: 40}),

  make(parent, {model, set, context}) {
    const pick = (name, words) => {
      const thumbs = model.images.map((image, k) => {
        const small = tile(), press = node("button", {type: "button", "aria-label": `${words} example ${k + 1}${model.labels ? `, a ${model.labels[k]}` : ""}`}, small.element);
        small.show(image);
        press.addEventListener("click", () => set({[name]: k}));
        return {...small, press, name};
      });
      return {thumbs, element: node("div", {}, node("p", {className: "caption", text: words}), node("div", {className: "examples", role: "group", "aria-label": words}, ...thumbs.map(({press}) => press)))};
    };
    const first = pick("start", "From"), second = pick("stop", "To");
    const row = () => Array.from({length: FRAMES}, () => tile());
    const flow = row(), straight = row(), near = row(), large = tile(), noises = [tile(), tile()];
    const strip = (tiles, words) => node("figure", {className: "card"}, node("figcaption", {className: "caption", text: words}),
      node("div", {className: "strip", role: "img", "aria-label": words}, ...tiles.map(({element}) => element)));
    const slide = slider("Along the way", {min: 0, max: FRAMES - 1, step: 1, value: 4, format: (k) => `${Math.round(100 * k / (FRAMES - 1))} %`}, (place, how) => set({place}, how));
    const big = node("div", {className: "large", role: "img", "aria-label": "The image at this place"}, large.element);
    const nearest = strip(near, "The nearest training image of each");
    parent.append(
      node("div", {className: "drawing"}, node("div", {className: "sheet"}, big, slide.element), node("div", {className: "sheet"}, first.element, second.element,
        node("figure", {className: "card"}, node("figcaption", {className: "caption", text: "The noise that the flow carries each of them to; where it does not look like noise, the model has not learnt the last of the data"}),
          node("div", {className: "twin", role: "img", "aria-label": "Two images of noise"}, ...noises.map(({element}) => element))))),
      strip(flow, "Through the flow's noise"), strip(straight, "Mixing the pixels instead"), nearest,
    );
    let found = null, seconds = 0;
    flow.forEach((each, k) => each.element.addEventListener("click", () => set({place: k})));

    function paint() {
      if (!found) return;
      const place = Math.min(context.state.place, FRAMES - 1);
      large.show(found.images[place]);
      flow.forEach((each, k) => { each.show(found.images[k]); each.element.classList.toggle("now", k === place); });
      straight.forEach((each, k) => each.show(found.mixed[k]));
      near.forEach((each, k) => each.show(found.near?.[k] ?? null));
      nearest.hidden = !found.near;
      big.setAttribute("aria-label", `The image at ${Math.round(100 * place / (FRAMES - 1))} % of the way${found.distances ? `, ${found.distances[place]} away from the nearest training image` : ""}.`);
    }

    return {
      show(event) {
        if (event.kind === "noise") unpackImages(event.noise).forEach((image, k) => noises[k].show(image));
        if (event.kind === "path") found = {...event, images: unpackImages(event.images), mixed: unpackImages(event.mixed), near: event.nearest && unpackImages(event.nearest)};
        if (event.kind === "end") seconds = event.seconds;
        paint();
      },
      update(state) {
        slide.set(Math.min(state.place, FRAMES - 1));
        for (const {thumbs} of [first, second]) thumbs.forEach(({press, name}, k) => press.setAttribute("aria-pressed", String(state[name] === k)));
        paint();
      },
      paint() { for (const each of [...flow, ...straight, ...near, ...noises, ...first.thumbs, ...second.thumbs, large]) each.paint(); },
      numbers: () => [
        ["There and back", found.error.toPrecision(2), "root mean square change of the two ends, in pixels from −1 to 1; a few-step model is no flow, and has no way back"],
        ...(found.distances ? [["Nearest training image", found.distances.join(", "), `distance along the way; held-out digits have ${found.usual} in the median`]] : []),
        ["Time", `${seconds.toFixed(2)} s`, "up, and down again"],
      ],
      said: () => `${FRAMES} images on the way from one to the other.`,
      stop() {},
    };
  },
};
