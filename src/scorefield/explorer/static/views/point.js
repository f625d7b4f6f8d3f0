/* One noisy point: what a network is asked to regress on, and what the regression comes to. Weights and arrows of the sources follow
   the hand in the browser's own arithmetic; what rests is the server's. */

import {latest, unpack} from "../lib/api.js";
import {Chart} from "../lib/chart.js";
import {button, group, layout, node, select, slider, table} from "../lib/controls.js";
import {showCode} from "../lib/code.js";
import {shade, theme} from "../lib/colour.js";
import * as closed from "../lib/densities.js";
import {grip} from "../lib/handles.js";
import {LEVELS, Plot} from "../lib/plot.js";
import {DENSITIES, chosen, source} from "../lib/source.js";
import {choice, integer, number, place} from "../lib/state.js";

const FINE = 80;

const parameters = {
  density: choice("mixture", DENSITIES.map(([name]) => name)),
  modes: source.modes,
  at: place([0.4, 0.5]),
  sigma: number(0.6, {min: 0.02, max: 5, digits: 3}),
  sources: integer(40, {min: 2, max: 1000}),
  picked: integer(0, {min: 0, max: 999}),
};

const pair = ([a, b]) => `(${a.toFixed(2)}, ${b.toFixed(2)})`;
const size = ([a, b]) => Math.hypot(a, b);

export default {
  id: "point",
  title: "One noisy point",
  heading: "One noisy point",
  lead: "A noisy point could have come from many clean ones. Each pulls its own way; their average, weighted by how likely each is, is the score.",
  parameters,

  mount(root, context) {
    const {stage, panel, side, below} = layout(root);
    const plot = new Plot(stage, {label: "One noisy point"});
    stage.append(node("p", {className: "keys"},
      key("--accent", "average over all sources: σ²·score, Tweedie's arrow to E[x₀ | x]"),
      key("--warm", "one known source: −ε/σ times σ²"),
      key("--density", "rays: posterior weights")));
    const scales = node("div", {className: "gauges"});
    const numbers = table("The same arrow in three units");
    const chartBox = node("div");
    side.append(numbers.element, scales, chartBox);
    const chart = new Chart(chartBox, {label: "Lengths of both, at this point and every noise level", across: "noise level σ", log: true, logAcross: true, height: 230});
    const code = showCode(below, "/api/point/code", {failed: context.fail});
    let clean = null, asked = "", found = null, ground = null, groundKey = "", now = null;

    const body = (state) => ({
      density: chosen(state), sigma: state.sigma, at: state.at, sources: state.sources, picked: Math.min(state.picked, state.sources - 1),
    });
    const server = latest("/api/point", (answer, sent, more) => {
      clean = unpack(answer.sources);
      asked = drawn(sent);
      found = {answer, at: sent.at, sigma: sent.sigma};
      context.clear();
      compute(context.state);
      if (!more) tell();
    }, context.fail);
    const under = latest("/api/field", (answer) => { ground = unpack(answer.log_density); plot.refresh(); }, context.fail);
    const drawn = (sent) => JSON.stringify([sent.density, sent.sources]);

    /* Everything that follows from the sources, at the speed of a hand. */
    function compute(state) {
      if (!clean || asked !== drawn(body(state))) return;
      const modes = Array.from({length: clean.length / 2}, (_, k) => [clean[2 * k], clean[2 * k + 1], 0, 1]);
      const [x, y] = state.at, {r} = closed.responsibilities(modes, x, y, state.sigma);
      const {score, denoised} = closed.at(modes, x, y, state.sigma);
      const k = Math.min(state.picked, modes.length - 1), v = state.sigma ** 2;
      now = {modes, weights: r, score, denoised, picked: k, target: [(modes[k][0] - x) / v, (modes[k][1] - y) / v], epsilon: score.map((s) => -state.sigma * s)};
      show(state);
      plot.refresh();
    }

    plot.paint = (p) => {
      const colours = theme(), state = context.state;
      if (ground) {
        const top = ground.reduce((a, b) => Math.max(a, b), -Infinity);
        p.heat(ground.map((v) => Math.exp(0.28 * (v - top))), FINE, {scale: shade(colours.density, 0.32, colours), range: [0, 1]});
        p.contours(ground, FINE, LEVELS.map((each) => top - each), {colour: colours.accent, alpha: 0.12});
      }
      if (!now) return;
      const most = Math.max(...now.weights), c = p.draw;
      now.modes.forEach(([sx, sy], k) => {
        const share = now.weights[k] / most;
        if (share > 0.004) p.line([state.at, [sx, sy]], {colour: colours.density, width: 0.6 + 5.5 * share, alpha: 0.18 + 0.75 * share});
      });
      p.points(clean, {radius: (k) => 2.4 + 3.2 * Math.sqrt(now.weights[k] / most), colour: colours.ink, alpha: (k) => 0.35 + 0.6 * now.weights[k] / most});
      const [tx, ty] = now.modes[now.picked];
      c.strokeStyle = colours.warm;
      c.lineWidth = 2;
      c.beginPath();
      c.arc(p.x(tx), p.y(ty), 8.5, 0, 2 * Math.PI);
      c.stroke();
      p.arrow(state.at, [tx, ty], {colour: colours.warm, width: 2.2, dash: [6, 5]});
      p.arrow(state.at, now.denoised, {colour: colours.accent, width: 3.4, size: 13});
      c.fillStyle = colours.accent;
      c.beginPath();
      c.arc(p.x(now.denoised[0]), p.y(now.denoised[1]), 5, 0, 2 * Math.PI);
      c.fill();
      const up = now.denoised[1] >= state.at[1], right = now.denoised[0] >= state.at[0];
      p.text("E[x₀ | x]", now.denoised, {colour: colours.accent, dx: right ? 11 : -11, dy: up ? -9 : 20, align: right ? "left" : "right", size: 14});
      p.text("x", state.at, {colour: colours.warm, dx: right ? -14 : 14, dy: up ? 20 : -10, align: right ? "right" : "left", size: 16});
    };
    plot.canvas.addEventListener("click", (event) => {
      if (!now) return;
      const [x, y] = plot.data(event.offsetX, event.offsetY);
      let best = 0;
      now.modes.forEach(([sx, sy], k) => { if (Math.hypot(sx - x, sy - y) < Math.hypot(now.modes[best][0] - x, now.modes[best][1] - y)) best = k; });
      if (Math.hypot(now.modes[best][0] - x, now.modes[best][1] - y) < 0.3) context.set({picked: best}, {commit: true});
      else context.set({at: [x, y].map((each) => Number(each.toFixed(3)))}, {commit: true});
    });
    context.onTheme(() => { plot.refresh(); chart.refresh(); });

    function show(state) {
      const share = now.weights[now.picked];
      numbers.show([
        ["Score s(x)", pair(now.score), `length ${size(now.score).toPrecision(3)}; grows as σ falls`],
        ["Noise E[ε | x] = −σ s", pair(now.epsilon), `length ${size(now.epsilon).toPrecision(3)}; what a network predicts`],
        ["Denoised E[x₀ | x] = x + σ² s", pair(now.denoised), "where Tweedie's arrow ends"],
        ["Target −ε/σ of the known source", pair(now.target), `length ${size(now.target).toPrecision(3)}; this source has weight ${(100 * share).toPrecision(2)} %`],
        ...(found?.answer && found.at === state.at && found.sigma === state.sigma ? [
          ["Sources that matter", found.answer.effective.toPrecision(3), "1 / Σ w², of the posterior weights"],
          ["Score of the density itself", pair(found.answer.exact), "what the average comes to with more and more sources"],
        ] : []),
      ]);
      scales.replaceChildren(strip("s", now.score, "accent"), strip("E[ε | x]", now.epsilon, "second"));
    }

    function tell() {
      const state = context.state, sigmas = Array.from(unpack(found.answer.levels.sigma));
      const score = unpack(found.answer.levels.score), epsilon = unpack(found.answer.levels.epsilon);
      chart.show({
        curves: [
          {name: "‖s‖", colour: "accent", points: sigmas.map((s, k) => [s, score[k]])},
          {name: "‖E[ε | x]‖ = σ‖s‖", colour: "second", points: sigmas.map((s, k) => [s, epsilon[k]])},
        ],
        marks: [state.sigma],
      });
      chart.describe(`At σ = ${state.sigma} the score has length ${size(now.score).toPrecision(3)} and the predicted noise ${size(now.epsilon).toPrecision(3)}; `
        + `at σ = 0.02 they are ${score[0].toPrecision(3)} and ${epsilon[0].toPrecision(3)}.`);
      plot.describe(`Noisy point ${pair(state.at)} at noise level ${state.sigma} among ${state.sources} sources. `
        + `Its score is ${pair(now.score)}, the denoised estimate ${pair(now.denoised)}, the target of source ${now.picked + 1} is ${pair(now.target)}.`);
    }

    /* One arrow on a scale of its own, with its length in words. */
    function strip(name, [a, b], colour) {
      const length = Math.hypot(a, b), svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      svg.setAttribute("viewBox", "-50 -50 100 100");
      svg.setAttribute("aria-hidden", "true");
      const ux = length ? a / length : 0, uy = length ? -b / length : 0;
      const make = (tag, attributes) => {
        const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
        for (const [each, value] of Object.entries(attributes)) made.setAttribute(each, value);
        svg.append(made);
      };
      make("circle", {cx: 0, cy: 0, r: 40, class: "ring"});
      if (length > 0) {
        make("line", {x1: 0, y1: 0, x2: 32 * ux, y2: 32 * uy, class: `needle ${colour}`});
        make("polygon", {points: `${40 * ux},${40 * uy} ${30 * ux - 6 * uy},${30 * uy + 6 * ux} ${30 * ux + 6 * uy},${30 * uy - 6 * ux}`, class: `tip ${colour}`});
      }
      return node("div", {className: "gauge"}, svg, node("p", {}, node("b", {text: name}), ` radius ${length.toPrecision(3)}`));
    }

    // Controls
    const set = (patch, how = {commit: true}) => context.set(patch, how);
    const sigma = slider("Noise level σ", {min: 0.02, max: 5, log: true, value: 0.6}, (value, how) => set({sigma: value}, how));
    const density = select("Density", DENSITIES, "mixture", (value) => set({density: value, picked: 0}));
    const count = slider("Clean sources", {min: 2, max: 1000, log: true, step: 1, value: 40, hint: "The average is exact for these; with more of them it becomes the score of the density."}, (value, how) => set({sources: value, picked: Math.min(context.state.picked, value - 1)}, how));
    const draw = button("Another known source", () => {
      const next = (context.state.picked + 1) % context.state.sources;
      set({picked: next});
      context.announce(`Source ${next + 1} is known.`);
    });
    const most = button("The likeliest source", () => { if (now) set({picked: now.weights.indexOf(Math.max(...now.weights))}); });
    panel.append(
      group("Noise", sigma.element),
      group("The point", node("p", {className: "hint", text: "Drag x, click where it should be, or focus it and use the arrow keys. Click a source to make it the known one."}), node("div", {className: "row"}, draw.element, most.element)),
      group("Where sources come from", density.element, count.element),
    );
    const pin = grip(plot, {label: "The noisy point x", kind: "pin", limit: 2.95, moved: (at, how) => set({at}, how)});

    return {
      update(state) {
        sigma.set(state.sigma);
        density.set(state.density);
        count.set(state.sources);
        pin.set(state.at);
        const wanted = body(state);
        const groundNow = JSON.stringify([wanted.density, state.sigma]);
        if (groundNow !== groundKey) {
          groundKey = groundNow;
          under.ask({density: wanted.density, sigma: state.sigma, n: 2, fine: FINE});
        }
        compute(state);
        server.ask(wanted);
        code.ask(wanted);
      },
      unmount() { server.stop(); under.stop(); code.stop(); plot.stop(); chart.stop(); },
    };
  },
};

function key(colour, words) {
  const made = node("span", {text: words});
  made.style.setProperty("--key", `var(${colour})`);
  return made;
}
