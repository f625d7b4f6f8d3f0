/* The samplers of the library as the page offers them: what they are called, in which score they walk, and their parameters.
   In a link a sampler is the Python that makes it, "Langevin(size=0.02)"; the server reads the same text. */

import {node, select, slider} from "./controls.js";

const size = (value, label = "Step size h") => ({name: "size", label, min: 0.001, max: 1, log: true, value});

export const SAMPLERS = [
  {id: "Langevin", title: "Langevin", group: "In the score at one noise level", fixed: true, knobs: [size(0.02)]},
  {id: "MALA", title: "Langevin with refusals (MALA)", group: "In the score at one noise level", fixed: true, knobs: [size(0.1)]},
  {id: "Underdamped", title: "Underdamped Langevin", group: "In the score at one noise level", fixed: true,
    knobs: [size(0.1), {name: "friction", label: "Friction γ", min: 0.05, max: 20, log: true, value: 1}]},
  {id: "AnnealedLangevin", title: "Annealed Langevin", group: "Down the noise levels, with noise", knobs: [
    {name: "steps", label: "Steps at each level", min: 1, max: 50, step: 1, value: 5},
    {name: "size", label: "Step size ε, in units of σ²", min: 0.01, max: 0.95, log: true, value: 0.1}]},
  {id: "EulerMaruyama", title: "Reverse SDE", group: "Down the noise levels, with noise", knobs: []},
  {id: "Ancestral", title: "Ancestral: DDPM to DDIM", group: "Down the noise levels, with noise", knobs: [
    {name: "eta", label: "Noise η: 0 DDIM, 1 DDPM", min: 0, max: 1, step: 0.05, value: 1}]},
  {id: "Churn", title: "Churned Heun", group: "Down the noise levels, with noise", knobs: [
    {name: "churn", label: "Churn: 0 flow, 1 reverse SDE", min: 0, max: 5, step: 0.1, value: 1}]},
  {id: "PredictorCorrector", title: "Predictor and corrector", group: "Down the noise levels, with noise", knobs: [
    {name: "steps", label: "Corrections at each level", min: 1, max: 10, step: 1, value: 1},
    {name: "snr", label: "Signal to noise of a correction", min: 0.02, max: 0.65, log: true, value: 0.16}]},
  {id: "Heun", title: "Probability flow (Heun)", group: "Down the noise levels, along the flow", knobs: []},
  {id: "Midpoint", title: "Probability flow (midpoint)", group: "Down the noise levels, along the flow", knobs: []},
  {id: "Multistep", title: "Multistep", group: "Down the noise levels, along the flow", knobs: [
    {name: "points", label: "Answers remembered", min: 1, max: 4, step: 1, value: 3}]},
  {id: "Corrected", title: "Multistep, corrected", group: "Down the noise levels, along the flow", knobs: [
    {name: "points", label: "Answers remembered", min: 2, max: 4, step: 1, value: 3}]},
  {id: "Adaptive", title: "Runge–Kutta, adaptive", group: "Down the noise levels, along the flow", knobs: [
    {name: "tolerance", label: "Tolerance", min: 1e-5, max: 0.1, log: true, value: 0.001}]},
];

export const known = (id) => SAMPLERS.find((each) => each.id.toLowerCase() === id.toLowerCase());

/* "Langevin(size=0.02)" as {id, values}; values that are not given are the page's own. */
export function parse(text) {
  const [, id = "", inside = ""] = /^\s*(\w+)\s*(?:\((.*)\))?\s*$/.exec(text) ?? [];
  const found = known(id);
  if (!found) return null;
  const given = Object.fromEntries(inside.split(",").map((part) => part.split("=").map((each) => each.trim())).filter((pair) => pair.length === 2));
  const values = Object.fromEntries(found.knobs.map(({name, value, min, max}) => {
    const wanted = Number(given[name]);
    return [name, given[name] && Number.isFinite(wanted) ? Math.min(max, Math.max(min, wanted)) : value];
  }));
  return {id: found.id, values};
}

export function write({id, values}) {
  return `${id}(${known(id).knobs.map(({name}) => `${name}=${Number(values[name].toPrecision(4))}`).join(", ")})`;
}

export const titled = (text) => known(parse(text)?.id ?? "")?.title ?? text;

/* A list of samplers with the sliders of the chosen one. `none` is the words for no sampler at all, if that may be. */
export function samplerControls(label, value, changed, {none} = {}) {
  const knobs = node("div", {className: "group-part"});
  let now = value, drawn = "";
  const list = select(label, [], "", (id) => {
    changed(id ? write({id, values: Object.fromEntries(known(id).knobs.map((knob) => [knob.name, knob.value]))}) : "", {commit: true});
  });
  if (none) list.input.append(node("option", {value: "", text: none}));
  for (const group of new Set(SAMPLERS.map((each) => each.group))) {
    list.input.append(node("optgroup", {label: group}, ...SAMPLERS.filter((each) => each.group === group)
      .map(({id, title}) => node("option", {value: id, text: title}))));
  }
  let sliders = [];
  function set(text) {
    now = text;
    const found = text ? parse(text) : null;
    list.set(found?.id ?? "");
    if ((found?.id ?? "") !== drawn) {
      drawn = found?.id ?? "";
      sliders = found ? known(found.id).knobs.map((knob) => [knob.name, slider(knob.label, {...knob, value: found.values[knob.name]}, (v, how) => {
        const {id, values} = parse(now);
        changed(write({id, values: {...values, [knob.name]: v}}), how);
      })]) : [];
      knobs.replaceChildren(...sliders.map(([, each]) => each.element));
    }
    for (const [name, each] of sliders) each.set(found.values[name]);
  }
  return {element: node("div", {className: "group-part"}, list.element, knobs), set, input: list.input};
}
