/* Images: digits that form, a drawing that the model completes, and the way between two of them. Three parts of one link. */

import {get, later, stream} from "../lib/api.js";
import {group, layout, node, numeric, radio, select, slider, table} from "../lib/controls.js";
import {showCode} from "../lib/code.js";
import {decode, unpackImages} from "../lib/pixels.js";
import {choice, integer, number, text} from "../lib/state.js";
import {between} from "./images/between.js";
import {completing} from "./images/completing.js";
import {forming} from "./images/forming.js";

const PARTS = {forming, completing, between};
const SAMPLERS = [
  ["", "The run's own"], ["Heun()", "Heun, probability flow"], ["Ancestral(eta=0.0)", "DDIM, probability flow"],
  ["Ancestral()", "DDPM, fresh noise"], ["Churn()", "Churn, fresh noise"],
];
const METHODS = [["moments", "Moment matching"], ["replacement", "Put back after each step"], ["resampling", "Put back, five times a step"]];

export default {
  id: "images",
  title: "Images",
  heading: "Images",
  lead: "A digit is a point in 784 dimensions. The score pulls noise towards digits, a half towards a whole, and one digit into another.",
  parameters: {
    part: choice("forming", Object.keys(PARTS)),
    run: text("", {most: 300}),
    n: integer(4, {min: 1, max: 8}),
    seed: integer(0, {min: 0, max: 999999}),
    label: text("any", {most: 4}),
    weight: number(1.2, {min: 0, max: 8}),
    steps: integer(20, {min: 1, max: 60}),
    sampler: choice("", SAMPLERS.map(([name]) => name)),
    step: integer(60, {min: 0, max: 60}),
    drawing: text("", {most: 6000}),
    example: integer(4, {min: 0, max: 19}),
    region: choice("top", ["top", "bottom", "left", "right", "ink"]),
    share: number(0.5, {min: 0.1, max: 0.9}),
    method: choice("moments", METHODS.map(([name]) => name)),
    start: integer(4, {min: 0, max: 19}),
    stop: integer(15, {min: 0, max: 19}),
    place: integer(4, {min: 0, max: 14}),
  },

  async mount(root, context) {
    const {stage, panel, below} = layout(root);
    const runs = context.about.runs.filter(({shape}) => shape.length === 3).map(({name}) => name);
    const set = (patch, how = {commit: true}) => context.set(patch, how);

    const part = radio("What the model does", [["forming", "Forming"], ["completing", "Completing"], ["between", "Between two"]], "forming",
      (value) => set({part: value, label: value === "completing" ? "none" : "any"}));
    const run = select("Model", runs, runs[0], (value) => set({run: value, ...usual(value)}));
    const labels = [["any", "Any, evenly"], ["none", "None: without a label"], ...Array.from({length: 10}, (_, k) => [String(k), String(k)])];
    const label = select("Class", labels, "any", (value) => set({label: value}));
    const weight = slider("Guidance weight", {min: 0, max: 8, step: 0.1, value: 1.2, hint: "1 is the class as it is; more is clearer and less varied."}, (value, how) => set({weight: value}, how));
    const steps = slider("Steps", {min: 1, max: 60, step: 1, value: 20}, (value, how) => set({steps: value}, how));
    const sampler = select("Sampler", SAMPLERS, "", (value) => set({sampler: value}));
    const count = slider("How many", {min: 1, max: 8, step: 1, value: 4}, (value, how) => set({n: value}, how));
    const seed = numeric("Seed", {min: 0, max: 999999, value: 0, hint: "The same seed draws the same images."}, (value) => set({seed: value}));
    const region = radio("Known", [["top", "Top"], ["bottom", "Bottom"], ["left", "Left"], ["right", "Right"], ["ink", "Ink"]], "top", (value) => set({region: value}));
    const share = slider("How much of it", {min: 0.1, max: 0.9, step: 0.05, value: 0.5, format: (v) => `${Math.round(100 * v)} %`}, (value, how) => set({share: value}, how));
    const method = select("Method", METHODS, "moments", (value) => set({method: value}));
    panel.append(
      group("Who draws", run.element),
      group("What is known", region.element, share.element, method.element),
      group("Which digits", label.element, weight.element),
      group("How they are drawn", sampler.element, steps.element, count.element, seed.element),
    );
    const [, known, which, how] = panel.children;

    const sheet = node("div", {className: "sheet"}), busy = node("div", {className: "busy", role: "progressbar", "aria-label": "Steps done", "aria-valuemin": 0, "aria-valuemax": 100});
    stage.append(node("div", {className: "parts"}, part.element), busy, sheet);
    const numbers = table("What is seen");
    below.append(numbers.element);
    const codes = Object.fromEntries(Object.entries(PARTS).map(([name, each]) => [name, showCode(below, `/api/images/${each.address}/code`, {failed: context.fail})]));

    let model = null, made = null, asked = "", over = null, cancel = () => {}, gone = false;
    const usual = (name) => (name === "digits-fast" ? {steps: 2, weight: 1} : {steps: 20, weight: 1.2});

    function progress(done) {
      busy.style.setProperty("--done", `${100 * done}%`);
      busy.setAttribute("aria-valuenow", String(Math.round(100 * done)));
    }

    /* One request at a time: a new one ends the last, on the server too. */
    async function watch(body, view) {
      over?.abort();
      const mine = over = new AbortController();
      sheet.dataset.state = "busy";
      progress(0.02);
      try {
        let total = 1;
        for await (const event of stream(`/api/images/${view.address}`, body, {signal: mine.signal})) {
          if (mine.signal.aborted) return;
          if (event.kind === "failed") throw new Error(event.message);
          if (event.kind === "plan") { context.clear(); total = event.steps; }
          if (event.kind === "state") progress(event.step / total);
          view.show(event);
        }
        progress(1);
        numbers.show(view.numbers());
        sheet.dataset.state = "done";
        context.announce(view.said());
      } catch (error) {
        if (error.name === "AbortError" || mine.signal.aborted) return;
        sheet.dataset.state = "failed";
        asked = "";
        progress(0);
        context.fail(error);
      }
    }

    context.onTheme(() => made?.paint());

    return {
      async update(state) {
        const name = state.run || runs[0];
        if (model?.run !== name) {
          const found = await get(`/api/images/model?run=${encodeURIComponent(name)}`);
          state = context.state;
          if (gone || name !== (state.run || runs[0])) return;   // it was left, or another was chosen while this one came
          if (model?.run !== name) {
            model = {...found, images: unpackImages(found.examples), levels: found.drawings?.map((each) => decode(each, found.shape[1] * found.shape[2]))};
            over?.abort();
            made?.stop();
            made = null;
          }
        }
        const view = PARTS[state.part];
        if (made?.part !== state.part) {
          made?.stop();
          sheet.replaceChildren();
          made = Object.assign(view.make(sheet, {model, set, context}), {part: state.part, address: view.address});
          asked = "";
        }
        part.set(state.part);
        run.set(name);
        label.set(state.label);
        weight.set(state.weight);
        weight.enable(state.label !== "none");
        steps.set(state.steps);
        sampler.set(state.sampler);
        count.set(state.n);
        seed.set(state.seed);
        region.set(state.region);
        share.set(state.share);
        method.set(state.method);
        known.hidden = state.part !== "completing";
        which.hidden = state.part === "between" || model.classes === null;
        how.hidden = state.part === "between";
        sampler.element.hidden = state.part !== "forming";
        share.element.hidden = state.region === "ink";
        for (const [each, panel_] of Object.entries(codes)) panel_.element.hidden = each !== state.part;
        const body = view.body(state, {run: name, label: state.label === "any" ? null : state.label === "none" ? -1 : Number(state.label)});
        codes[state.part].ask(body);
        made.update(state);
        const wanted = JSON.stringify([state.part, body]);
        cancel();
        if (wanted === asked) return;
        const missing = view.missing?.(state, model);
        if (missing) { over?.abort(); asked = ""; context.fail(new Error(missing)); return; }
        cancel = later(() => { asked = wanted; watch(body, made); }, asked ? 140 : 0);
      },
      unmount() {
        gone = true;
        cancel();
        over?.abort();
        made?.stop();
        for (const each of Object.values(codes)) each.stop();
      },
    };
  },
};
