/* The pictures of the exercises, from the plain numbers of exercises/pictures.py: planes, curves and bars.

     const shown = gallery(parent);  shown.show(pictures);  shown.refresh();  shown.stop(); */

import {diverging, sequential, shade, theme} from "./colour.js";
import {node} from "./controls.js";
import {Curves, INKS} from "./curves.js";
import {Plot, legend} from "./plot.js";

export function gallery(parent) {
  const element = node("div", {className: "gallery"});
  parent.append(element);
  let made = [], kinds = "";
  return {
    element,
    /* Pictures of the same kinds are drawn into the same canvases, so that turning a dial does not flicker. */
    show(pictures) {
      const wanted = pictures.map((each) => each.kind).join();
      if (wanted !== kinds) {
        made.forEach((each) => each.stop());
        element.replaceChildren();
        made = pictures.map((each) => MAKERS[each.kind](element));
        kinds = wanted;
      }
      pictures.forEach((each, k) => made[k].show(each));
    },
    refresh() { made.forEach((each) => each.refresh()); },
    stop() { made.forEach((each) => each.stop()); },
  };
}

function titled(parent) {
  const title = node("figcaption"), figure = node("figure", {className: "picture"}, title);
  parent.append(figure);
  return {figure, title};
}

/* A few points are marks, the first of two clouds lies under the second. */
const dots = (k, size, clouds) => (size < 5 ? {radius: 6, alpha: 1} : k === 0 && clouds > 1 ? {radius: 4.2, alpha: 0.3} : {radius: 2.4, alpha: 0.7});

function plane(parent) {
  const {figure, title} = titled(parent), plot = new Plot(figure), bar = legend(figure), keys = node("p", {className: "keys"});
  figure.append(keys);
  let now = null;
  plot.paint = (p) => {
    if (!now) return;
    const colours = theme(), {arrows, values, signed, points, paths, jumps} = now;
    if (values) {
      const flat = Float32Array.from(values.flat()), n = values.length, top = flat.reduce((a, b) => Math.max(a, b), -Infinity);
      const map = signed || (!arrows && points.length === 0);
      if (signed) {
        const most = Math.max(...flat.map(Math.abs)), scale = diverging(colours);
        p.heat(flat, n, {scale, range: [-most, most]});
        bar.show("divergence", scale, [-most, most]);
      } else if (map) {
        const most = Float32Array.from(flat).sort()[Math.round(0.985 * (flat.length - 1))], scale = sequential(colours);
        p.heat(flat, n, {scale, range: [0, most]});
        bar.show("size", scale, [0, most]);
      } else {
        p.heat(flat.map((v) => Math.sqrt(v / top)), n, {scale: shade(colours.density, 0.85, colours), range: [0, 1]});
        p.contours(flat, n, [0.02, 0.15, 0.4, 0.75].map((part) => part * top), {colour: colours.accent, alpha: 0.35});
      }
      if (!map) bar.hide();
    } else bar.hide();
    if (arrows) p.arrows(Float32Array.from(arrows.flat()), Math.round(Math.sqrt(arrows.length)), {colour: colours.arrow, width: 1.4});
    for (const path of paths) p.line(path, {colour: colours.muted, alpha: paths.length > 5 ? 0.35 : 0.9, width: 1.4});
    points.forEach(({at}, k) => p.points(Float32Array.from(at.flat()), {...dots(k, at.length, points.length), colour: colours[INKS[(k + 1) % 4]]}));
    for (const [from, to] of jumps) p.arrow(from, to, {colour: colours.ink, width: 3.4, size: 13});
    points.forEach((_, k) => keys.children[k]?.style.setProperty("--key", colours[INKS[(k + 1) % 4]]));
  };
  return {
    show(picture) {
      now = picture;
      plot.half = picture.reach;
      title.textContent = picture.title;
      keys.replaceChildren(...picture.points.map(({name}) => node("span", {text: name})));
      const parts = [picture.arrows && "arrows of a field", picture.values && "a map", ...picture.points.map(({name, at}) => `${at.length} points, ${name}`)].filter(Boolean);
      plot.describe(`${picture.title}: ${parts.join(", ")}, from −${picture.reach} to ${picture.reach}. Its numbers are in the table below.`);
      plot.refresh();
    },
    refresh() { plot.refresh(); },
    stop() { plot.stop(); },
  };
}

function curves(parent) {
  const {figure, title} = titled(parent), chart = new Curves(figure);
  return {
    show(picture) {
      title.textContent = picture.title;
      const ends = picture.lines.map(({name, y}) => `${name} from ${y[0]} to ${y[y.length - 1]}`);
      chart.describe(`${picture.title}. ${ends.join("; ")}.`);
      chart.show(picture);
    },
    refresh() { chart.render(); },
    stop() { chart.stop(); },
  };
}

function bars(parent) {
  const {figure, title} = titled(parent), list = node("dl", {className: "bars"});
  figure.append(list);
  return {
    show({title: words, bars: rows, unit}) {
      title.textContent = words;
      const most = Math.max(...rows.map(({value}) => Math.abs(value))) || 1;
      list.replaceChildren(...rows.flatMap(({name, value, error}) => {
        const bar = node("span", {className: "bar-body", "aria-hidden": "true"});
        bar.style.setProperty("--size", `${100 * Math.abs(value) / most}%`);
        const text = `${Number(value.toPrecision(3))}${error ? ` ± ${Number(error.toPrecision(1))}` : ""}${unit && ` ${unit}`}`;
        return [node("dt", {text: name}), node("dd", {}, bar, node("span", {text}))];
      }));
    },
    refresh() {},
    stop() {},
  };
}

const MAKERS = {plane, curves, bars};
