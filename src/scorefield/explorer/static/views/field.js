/* Field: a density, how its score is obtained, and how noise smooths it. An exact field follows the hand in the browser's own
   arithmetic; every picture that rests is the server's. */

import {later, latest, stream, unpack} from "../lib/api.js";
import {button, group, layout, node, radio, select, slider, table} from "../lib/controls.js";
import {showCode} from "../lib/code.js";
import {diverging, sequential, shade, theme} from "../lib/colour.js";
import {grip} from "../lib/handles.js";
import {LEVELS, Plot, legend} from "../lib/plot.js";
import {preview, sizes} from "../lib/preview.js";
import {DENSITIES as TOYS, METHODS, chosen, runOf, source} from "../lib/source.js";
import {choice, number} from "../lib/state.js";
import {bilinear} from "../lib/streamlines.js";
import {tables} from "./field/tables.js";

const DENSITIES = [...TOYS, ["table", "Your CSV"]];
const MAPS = [["density", "Density"], ["speed", "‖s‖"], ["divergence", "div s"], ["curl", "curl s"], ["error", "Error"]];
const MEANT = {speed: "‖s‖", divergence: "div s", curl: "curl s", error: "‖s − s*‖"};
const N = 40, FINE = 80;

const parameters = {
  ...source,
  width: number(1, {min: 0.1, max: 10}),
  sigma: number(0.3, {min: 0.02, max: 5, digits: 3}),
  show: choice("density", MAPS.map(([name]) => name)),
  lines: choice("arrows", ["arrows", "streamlines", "none"]),
};

export default {
  id: "field",
  title: "Field",
  heading: "The score field",
  lead: "At every point, the score ∇log p points the way along which density rises fastest. Add noise, and it reaches further.",
  parameters,

  mount(root, context) {
    const {stage, panel, side, below} = layout(root);
    const plot = new Plot(stage, {label: "The score field"});
    const bar = legend(stage);
    const readout = node("p", {className: "note readout", text: "Point at the picture to read the score there."});
    stage.append(readout);
    const numbers = table("What is seen");
    side.append(numbers.element);
    const code = showCode(below, "/api/field/code", {failed: context.fail});
    const quick = preview(N, FINE);
    let subject = "", moved = null, rest = () => {};
    let shown = null;       // {asked, sigma, score, logDensity, largest, map, fisher, unmeasured, n, fine}
    let grips = [], picked = 0, training = null, resting = () => {};

    const body = (state) => ({
      density: chosen(state), method: state.method, sigma: state.sigma, width: state.width, run: state.run, show: state.show, n: N, fine: FINE,
    });
    /* Whether an answer still belongs on the page: it is the one for what is chosen; or, where only the server can draw, one on the way
       to where the hand is by now. */
    function welcome(asked) {
      const now = body(context.state), way = quick.knows(context.state) ? {} : {sigma: now.sigma, width: now.width};
      return JSON.stringify({...asked, ...way}) === JSON.stringify(now);
    }
    const server = latest("/api/field", (answer, asked, more) => {
      if (!welcome(asked)) return;
      if (answer.missing === "table") own.resend(context.state);
      if (answer.missing === "network" && !training) {   // nobody knows anything yet: arrows of no length over the density
        shown = {asked: {...asked, show: "density"}, sigma: asked.sigma, score: new Float32Array(2 * N * N), logDensity: unpack(answer.log_density), n: N, fine: FINE};
        plot.refresh();
        if (!more) learn(context.state);
      }
      if (answer.missing) return;
      moved = null;
      shown = {
        asked, score: unpack(answer.score), logDensity: unpack(answer.log_density), map: answer.map && unpack(answer.map),
        largest: answer.largest, fisher: answer.fisher, unmeasured: answer.unmeasured, sigma: answer.sigma, n: N, fine: FINE,
      };
      context.clear();
      plot.refresh();
      tell();
      quick.learn(context.state);
    }, context.fail);

    /* A network that nobody trained for this density yet is trained while one watches; another choice stops it. */
    function learn(state) {
      resting();
      resting = later(async () => {
        training?.abort();
        const mine = training = new AbortController();
        progress.hidden = false;
        progress.lastChild.value = 0;
        context.announce("Training begins.");
        try {
          for await (const line of stream("/api/field/train", {density: chosen(state), kind: state.method, run: state.run}, {signal: mine.signal})) {
            if (line.kind === "failed") throw new Error(line.message);
            progress.lastChild.value = line.step / line.steps;
            progress.firstChild.textContent = `Training: step ${line.step} of ${line.steps}, loss ${line.loss.toPrecision(3)}`;
            server.ask(body(context.state));
          }
          context.announce("Training is over.");
        } catch (error) {
          if (error.name !== "AbortError") context.fail(error);
        }
        if (training === mine) { progress.hidden = true; training = null; }
      }, 250);
    }

    plot.paint = (p) => {
      if (moved) {
        shown = {asked: body(moved), sigma: moved.sigma, ...quick.look(moved)};
        moved = null;
        tell();
      }
      if (!shown) {
        if (context.state.density === "table" && !context.state.table) p.text("Choose a CSV file, and its score appears here.", [0, 0], {dx: 0, dy: 0, align: "center", size: 16});
        return;
      }
      const colours = theme(), top = shown.logDensity.reduce((a, b) => Math.max(a, b), -Infinity);
      const state = context.state, {show} = shown.asked, {sigma} = shown, other = show !== "density" && shown.map;
      if (other) {
        const signed = show === "divergence" || show === "curl";
        const scale = signed ? diverging(colours) : sequential(colours), range = spread(shown.map, signed);
        p.heat(shown.map, shown.fine, {scale, range, alpha: 1});
        bar.show(MEANT[show] + ({speed: ", per unit length", error: ", the error"}[show] ?? ""), scale, range);
      } else {
        const scale = shade(colours.density, colours.dark ? 0.85 : 0.9, colours);
        p.heat(shown.logDensity.map((v) => Math.exp(0.28 * (v - top))), shown.fine, {scale, range: [0, 1]});
        bar.show("log p below its maximum, nats", (t) => scale(Math.exp(-0.28 * 12 * (1 - t))), [-12, 0]);
      }
      p.contours(shown.logDensity, shown.fine, LEVELS.map((below) => top - below), {colour: other ? colours.ink : colours.accent, alpha: other ? 0.22 : 0.3});
      const ink = other && show !== "curl" && show !== "divergence" ? (colours.dark ? "#ffffff" : "#10131c") : colours.arrow;
      if (state.lines === "arrows") p.arrows(shown.score, shown.n, {colour: ink});
      if (state.lines === "streamlines") p.streamlines(shown.score, shown.n, {colour: ink});
      p.label(`σ = ${sigma}`);   // a picture tells its own noise level, also while a hand is ahead of it
      p.box.dataset.sigma = sigma;
    };
    context.onTheme(() => plot.refresh());

    plot.box.addEventListener("pointermove", (event) => {
      if (!shown) return;
      const box = plot.canvas.getBoundingClientRect(), [x, y] = plot.data(event.clientX - box.left, event.clientY - box.top);
      const [a, b] = bilinear(shown.score, shown.n, x, y);
      readout.textContent = `At (${x.toFixed(2)}, ${y.toFixed(2)}): s = (${a.toFixed(2)}, ${b.toFixed(2)}), ‖s‖ = ${Math.hypot(a, b).toPrecision(3)}`;
    });

    function tell() {
      const {method, show} = shown.asked, {sigma} = shown, lengths = sizes(shown.score), least = Math.min(...lengths);
      const largest = shown.largest, still = lengths.indexOf(least);
      const where = [still % N, Math.floor(still / N)].map((k) => (-3 + 6 * k / (N - 1)).toFixed(2)).join(", ");
      const list = [
        ["Noise level σ", String(sigma), "the density is that of x₀ + σz"],
        ["Largest ‖s‖", largest.toPrecision(3), "of the arrows that are drawn"],
        ["Calmest arrow", `${least.toPrecision(2)} at (${where})`, "the score vanishes at modes and between them"],
      ];
      if (shown.fisher) list.push(["Fisher divergence", shown.fisher.text, "E ½‖s − s*‖² over fresh draws, one standard error"]);
      else if (shown.unmeasured) list.push(["Fisher divergence", "none", shown.unmeasured]);
      if (shown.map) {
        const [low, high] = [Math.min(...shown.map), Math.max(...shown.map)];
        list.push([MEANT[show], `${low.toPrecision(3)} … ${high.toPrecision(3)}`, "least and greatest on the map"]);
      }
      numbers.show(list);
      const name = DENSITIES.find(([id]) => id === shown.asked.density.name)?.[1] ?? "the run's density";
      plot.describe(`Score field of ${name} at noise level ${sigma}, ${METHODS.find(([id]) => id === method)[1]}. `
        + `Largest length ${largest.toPrecision(3)}${shown.fisher ? `, Fisher divergence to the truth ${shown.fisher.text}` : ""}.`);
    }

    // Controls
    const set = (patch, how = {commit: true}) => context.set(patch, how);
    const drawn = context.about.runs.some((each) => each.density === "run") ? [["run", "What the run draws"]] : [];
    const density = select("Density", [...DENSITIES, ...drawn], "mixture", (value) => set({density: value}));
    const method = select("Score", METHODS, "exact", (value) => set({method: value}));
    const planar = context.about.runs.filter((each) => each.planar);
    const run = select("Run", planar.map((each) => [each.name, each.name]), "", (value) => {
      const known = planar.find((each) => each.name === value);
      set({run: value, density: known.density});
    }, {hint: "Its error is measured against the density it was trained on; choose another and see it fail."});
    const progress = node("div", {className: "control", hidden: true}, node("p", {className: "hint", text: "Training"}), node("progress", {max: 1, value: 0, "aria-label": "Training"}));
    const sigma = slider("Noise level σ", {min: 0.02, max: 5, log: true, value: 0.3}, (value, how) => set({sigma: value}, how));
    const one = node("p", {className: "hint", text: "This run is a static score: it knows one noise level, its own."});
    const show = radio("Colour shows", MAPS, "density", (value) => set({show: value}));
    const lines = radio("Over it", [["arrows", "Arrows"], ["streamlines", "Streamlines"], ["none", "Nothing"]], "arrows", (value) => set({lines: value}));
    const width = slider("Kernel width", {min: 0.1, max: 10, log: true, value: 1, format: (v) => `${v} × median distance`}, (value, how) => set({width: value}, how));
    const spread1 = slider("Width of this mode", {min: 0.05, max: 1.5, log: true, value: 0.3}, (value, how) => change(2, value, how));
    const weight = slider("Weight of this mode", {min: 0.1, max: 10, log: true, value: 1}, (value, how) => change(3, value, how));
    const add = button("Add a mode", () => {
      const modes = context.state.modes, angle = 2.4 * modes.length;
      picked = modes.length;
      set({modes: [...modes, [2 * Math.cos(angle), 2 * Math.sin(angle), 0.3, 1].map((v) => Number(v.toFixed(3)))]});
      context.announce(`Mode ${picked + 1} added.`);
      grips[picked]?.element.focus();
    });
    const remove = button("Remove this one", () => {
      const modes = context.state.modes.filter((_, k) => k !== picked);
      context.announce(`Mode ${picked + 1} removed.`);
      picked = Math.max(0, picked - 1);
      set({modes});
    });
    const own = tables(context, () => server.ask(body(context.state)));
    const ofMixture = node("div", {className: "group-part"}, node("p", {className: "hint", text: "Drag a mode, or focus it and use the arrow keys."}), spread1.element, weight.element, node("div", {className: "row"}, add.element, remove.element));
    panel.append(
      group("Noise", sigma.element, one),
      group("What it is the score of", density.element, ofMixture, own.element),
      group("How it is obtained", method.element, width.element, run.element, progress),
      group("What is drawn", show.element, lines.element),
    );

    function change(place, value, how) {
      set({modes: context.state.modes.map((mode, k) => (k === picked ? mode.map((each, m) => (m === place ? value : each)) : mode))}, how);
    }

    function placeGrips(state) {
      const wanted = state.density === "mixture" ? state.modes.length : 0;
      while (grips.length > wanted) grips.pop().remove();
      while (grips.length < wanted) {
        const k = grips.length;
        grips.push(grip(plot, {
          label: `Mode ${k + 1}`, limit: 2.95,
          moved: ([x, y], how) => set({modes: context.state.modes.map((mode, m) => (m === k ? [x, y, mode[2], mode[3]] : mode))}, how),
          chosen: () => { if (picked !== k) { picked = k; pick(context.state); } },
        }));
      }
      if (wanted) state.modes.forEach((mode, k) => grips[k].set(mode));
      pick(state);
    }

    function pick(state) {
      if (state.density !== "mixture") return;
      picked = Math.min(picked, state.modes.length - 1);
      grips.forEach((each, k) => each.element.setAttribute("aria-pressed", String(k === picked)));
      spread1.set(state.modes[picked][2]);
      weight.set(state.modes[picked][3]);
      remove.enable(state.modes.length > 1);
      add.enable(state.modes.length < 24);
    }

    return {
      update(state) {
        density.set(state.density);
        method.set(state.method);
        const level = runOf(context.about, state)?.level ?? null;
        sigma.enable(level === null);
        sigma.set(level ?? state.sigma);
        one.hidden = level === null;
        show.enable(level === null || state.density !== "run", "error");
        show.set(state.show);
        lines.set(state.lines);
        width.set(state.width);
        ofMixture.hidden = state.density !== "mixture";
        own.element.hidden = state.density !== "table";
        own.update(state);
        width.element.hidden = state.method !== "kernel";
        run.element.hidden = state.method !== "run" && state.density !== "run";
        run.set(state.run || (planar.find((each) => each.name === context.about.run) ?? planar[0])?.name || "");
        const now = JSON.stringify([chosen(state), state.method]);
        if (now !== subject) { subject = now; resting(); training?.abort(); }
        placeGrips(state);
        // What a hand moves is drawn from the browser's own arithmetic, within the frame; the server's numbers follow when it rests.
        moved = quick.knows(state) ? state : null;
        rest();
        if (moved) plot.refresh();
        if (state.density === "table" && !state.table) {
          shown = null;
          server.drop();
          numbers.show([]);
          plot.refresh();
          return;
        }
        rest = later(() => server.ask(body(state)), moved && shown ? 120 : 0);
        code.ask(body(state));
      },
      unmount() { resting(); rest(); training?.abort(); server.stop(); code.stop(); plot.stop(); },
    };
  },
};

/* The range of a map without its most extreme hundredth, about zero where the sign matters. */
function spread(values, signed) {
  const sorted = Float32Array.from(values).sort(), at = (q) => sorted[Math.round(q * (sorted.length - 1))];
  if (!signed) return [0, at(0.985) || 1];
  const most = Math.max(Math.abs(at(0.02)), Math.abs(at(0.98)), 1e-6);
  return [-most, most];
}
