/* What a field, a walk or a training is about: a density, and how its score is obtained, as parameters, controls and a request. */

import {node, select} from "./controls.js";
import {choice, rows, text} from "./state.js";

export const DENSITIES = [["mixture", "Mixture of Gaussians"], ["moons", "Moons"], ["rings", "Rings"], ["spirals", "Spirals"], ["checkerboard", "Checkerboard"]];
export const METHODS = [["exact", "Exact, in closed form"], ["kernel", "Kernel, from 300 points"], ["energy", "Energy network"], ["network", "Denoising network"], ["run", "A trained run"]];

export const source = {
  density: choice("mixture", [...DENSITIES.map(([name]) => name), "table", "run"]),
  modes: rows([[-1.2, -0.7, 0.3, 1], [1.2, -0.7, 0.3, 1], [0, 1.3, 0.3, 1]], {fill: [0, 0, 0.3, 1], min: -4, max: 4}),
  table: text(""),
  columns: text(","),
  method: choice("exact", METHODS.map(([name]) => name)),
  run: text(""),
};

/* The density of a state as the server wants it. */
export const chosen = (state) => ({
  name: state.density,
  ...(state.density === "mixture" && {modes: state.modes.map(([x, y, std, weight]) => ({x, y, std: Math.max(0.05, std), weight: Math.max(0.01, weight)}))}),
  ...(state.density === "table" && {table: state.table, columns: state.columns.split(",").slice(0, 2)}),
});

export const densityName = (state) => DENSITIES.find(([name]) => name === state.density)?.[1] ?? (state.density === "table" ? "your table" : "the run's density");

/* The run that a state is about, if it is about one. `level` is its only noise level where it is a static score, else null. */
export const runOf = (about, state) => {
  const planar = about.runs.filter((each) => each.planar);
  return state.method !== "run" ? undefined : planar.find(({name}) => name === (state.run || about.run)) ?? planar[0];
};

/* The list of densities, of runs too where they have one, and the list of methods if `methods` are wanted; `adapt(run)` is what else
   changes with the choice of a run. */
export function sourceControls(context, {methods = true, adapt = () => ({})} = {}) {
  const runs = context.about.runs.filter((run) => run.planar);
  const set = (patch) => context.set(patch, {commit: true});
  const density = select("Density", DENSITIES, "mixture", (value) => set({density: value}));
  const method = select("Score", METHODS, "exact", (value) => {
    const run = value === "run" ? runs[0] : null;
    set({method: value, ...(run && {run: run.name, density: run.density ?? "run", ...adapt(run)})});
  });
  const run = select("Run", runs.map(({name}) => name), "", (name) => {
    const found = runs.find((each) => each.name === name);
    set({run: name, density: found.density, ...adapt(found)});
  });
  const element = node("div", {className: "group-part"}, density.element, ...(methods ? [method.element, run.element] : []));
  return {
    element,
    set(state) {
      const own = [["table", "Your table"], ["run", "The run's own samples"]].filter(([name]) => name === state.density);
      density.fill([...DENSITIES, ...own]);
      density.set(state.density);
      method.fill(METHODS.filter(([name]) => name !== "run" || runs.length));
      method.set(state.method);
      run.element.hidden = state.method !== "run";
      run.set(state.run || runs[0]?.name || "");
    },
  };
}
