/* Walk: particles released in a score, by one sampler or two on the same draws. The server walks and streams the states; the page
   plays, pauses and scrubs them, and says why a step explodes. */

import {later, post, stream} from "../lib/api.js";
import {Chart, estimate} from "../lib/chart.js";
import {showCode} from "../lib/code.js";
import {button, group, layout, node, numeric, radio, slider} from "../lib/controls.js";
import {grip} from "../lib/handles.js";
import {parse, known, samplerControls, titled} from "../lib/samplers.js";
import {chosen, densityName, runOf, source, sourceControls} from "../lib/source.js";
import {choice, integer, number, place, text} from "../lib/state.js";
import {Track} from "../lib/track.js";

const SECONDS = 7, FRAMES = 160;

const parameters = {
  ...source,
  sigma: number(0.1, {min: 0.02, max: 5, digits: 3}),
  a: text("EulerMaruyama()"),
  b: text("Heun()"),
  evaluations: integer(60, {min: 1, max: 4000}),
  n: integer(400, {min: 2, max: 2000}),
  seed: integer(0, {min: 0, max: 2 ** 31 - 1}),
  from: choice("noise", ["noise", "point"]),
  start: place([0, 0]),
  at: integer(-1, {min: -1, max: 100000}),
};

const TRIES = [
  ["SDE and flow", "Two ways down the same noise levels from the same noise.", {a: "EulerMaruyama()", b: "Heun()", evaluations: 60, from: "noise"}],
  ["A step explodes", "The same walk on both sides of its bound.", {a: "Langevin(size=0.15)", b: "Langevin(size=0.24)", evaluations: 200, from: "noise", sigma: 0.1}],
  ["Refused, not exploded", "An overlong step, alone and with the chance to be refused.", {a: "Langevin(size=0.24)", b: "MALA(size=0.24)", evaluations: 200, from: "noise", sigma: 0.1}],
  ["Modes that do not mix", "Released in one mode: little noise traps, noise levels free.", {a: "Langevin(size=0.02)", b: "AnnealedLangevin(steps=5, size=0.1)", evaluations: 400, from: "point", start: [-1.2, -0.7], sigma: 0.05}],
  ["Ten evaluations", "What order buys when evaluations are few.", {a: "Ancestral(eta=0)", b: "Multistep(points=3)", evaluations: 10, from: "noise"}],
];

export default {
  id: "walk",
  title: "Walk",
  heading: "Walk in the score",
  lead: "Particles step along the score, with noise or without. Where they end, and after how many evaluations, is the sampler's doing.",
  parameters,

  mount(root, context) {
    const {stage, panel, below} = layout(root);
    const calm = matchMedia("(prefers-reduced-motion: reduce)");
    const pair = node("div", {className: "pair"});
    stage.append(pair);
    const tracks = [new Track(pair, "accent"), new Track(pair, "warm")];
    const live = () => tracks.filter((track) => track.sampler);
    tracks.forEach((track) => {
      track.plot.paint = (p) => track.paint(p, clock);
    });
    const grips = tracks.map((track) => grip(track.plot, {
      label: "Where particles are released", kind: "pin", moved: (start, how) => context.set({start, at: -1}, how),
    }));
    let clock = 0, playing = false, frame = 0, before = 0, over = null, key = "", cancel = () => {}, said = "", told = 0;

    /* A sampler's title; with its side, where both have the same. */
    const titleOf = (track) => {
      const title = titled(track.sampler), twins = live().filter((each) => titled(each.sampler) === title).length > 1;
      return twins ? `${title}, ${track === tracks[0] ? "left" : "right"}` : title;
    };

    // The player
    const total = () => Math.max(1, ...live().map((track) => (track.over ? track.last : Math.max(track.last, context.state.evaluations))));
    const scrub = slider("Evaluations", {min: 0, max: 1, value: 0, format: (v) => `${Math.round(v * total())} of ${total()}`}, (v, {commit}) => {
      pause();
      seek(v * total());
      context.set({at: Math.round(clock)}, {commit});
    });
    const play = button("Play", () => { if (playing) { pause(); remember(); } else { if (clock >= total() - 1e-6) clock = 0; context.set({at: -1}); go(); } }, {kind: "strong"});
    const back = button("Step back", () => hop(-1)), on = button("Step on", () => hop(1));
    const again = button("New draws", () => context.set({seed: (context.state.seed + 1) % 1000, at: -1}, {commit: true}));
    const player = node("div", {className: "player", role: "group", "aria-label": "Player"}, play.element, back.element, on.element, scrub.element, again.element);
    stage.append(player);
    const summary = node("p", {className: "summary"});
    stage.append(summary);

    function hop(way) {
      pause();
      const [first] = live();
      if (!first?.frames.length) return;
      const [k, part] = first.place(clock);
      const to = first.frames[Math.max(0, Math.min(first.frames.length - 1, way > 0 ? k + 1 : part > 0 ? k : k - 1))];
      seek(to.evaluations);
      remember();
    }
    function remember() { context.set({at: Math.round(clock)}, {commit: true}); }
    function pause() {
      playing = false;
      play.set("Play");
      cancelAnimationFrame(frame);
    }
    function go() {
      if (playing) return;
      playing = true;
      play.set("Pause");
      before = performance.now();
      frame = requestAnimationFrame(tick);
    }
    function tick(time) {
      if (!playing) return;
      const reached = Math.min(...live().map((track) => (track.over ? Infinity : track.last)));
      const dt = Math.min(0.1, (time - before) / 1000);
      before = time;
      seek(Math.min(clock + dt * total() / SECONDS, reached, total()));
      if (clock >= total() - 1e-6 && live().every((track) => track.over)) pause();
      else frame = requestAnimationFrame(tick);
    }
    function seek(to) {
      clock = Math.max(0, Math.min(total(), to));
      scrub.set(clock / total());
      for (const track of live()) { track.plot.refresh(); track.tell(clock, context.state.n); }
      const now = performance.now();
      if (playing && now - told < 150) return;   // words and curves need not follow every frame
      told = now;
      distances.show(curves());
      tell();
    }

    // Below: the distances, the numbers, the code
    const distances = new Chart(stage, {label: "Distance to the target against evaluations", across: "network evaluations", log: true});
    const hint = node("p", {className: "note"});
    distances.box.append(hint);
    const body = node("tbody"), headings = node("tr");
    const numbers = node("table", {className: "numbers versus"}, node("caption", {text: "At the end of each walk"}), node("thead", {}, headings), body);
    below.append(node("div", {className: "scroller", tabindex: "0", role: "region", "aria-label": "Numbers"}, numbers));
    const code = showCode(below, "/api/walk/code", {failed: context.fail});

    function curves() {
      const list = [], floors = [];
      for (const track of live()) {
        list.push({name: titleOf(track), colour: track.colour, width: 2, points: track.frames.filter((f) => f.distance && f.evaluations > 0).map((f) => [f.evaluations, f.distance.value])});
        list.push({colour: track.colour, width: 1, dash: [2, 4], dots: true, points: track.rungs.filter((r) => r.distance).map((r) => [r.evaluations, r.distance.value])});
      }
      const end = live().find((track) => track.end)?.end;
      if (end) floors.push({name: "fresh samples of the target", value: end.floor.value, spread: end.floor.spread, colour: "good"});
      distances.most = context.state.evaluations;
      return {curves: list, floors, marks: playing || context.state.at >= 0 ? [clock] : []};
    }

    function tell() {
      const now = live().map((track) => [titleOf(track), track.distance(clock), track]);
      if (now.some(([, distance]) => !distance)) return;
      const end = live().find((track) => track.end)?.end, gone = now.filter(([, , track]) => track.exploded && clock >= track.last - 1e-6);
      const parts = now.filter(([, , track]) => !gone.some(([, , each]) => each === track)).map(([name, {value}]) => `${name} stands ${value.toPrecision(2)} from the target`);
      const words = [
        ...gone.map(([name]) => `${name} has exploded`),
        ...parts,
      ].join("; ");
      summary.textContent = `After ${Math.round(clock)} evaluations ${words}${end ? `. Fresh samples of it stand ${estimate({value: end.floor.value, error: end.floor.spread})} from it` : ""}.`;
      for (const [name, distance, track] of now) {
        track.plot.describe(`${context.state.n} particles of ${name} in ${densityName(context.state)} after ${Math.round(clock)} evaluations; `
          + `${distance.value.toPrecision(2)} from the target.${track.exploded ? " The walk exploded." : ""}`);
      }
    }

    function finished() {
      const list = live();
      headings.replaceChildren(node("th", {scope: "col", text: "Measure"}), ...list.map((track) => node("th", {scope: "col", text: titleOf(track)})), node("th", {scope: "col", className: "meaning", text: "Meaning"}));
      const row = (name, of, meaning) => node("tr", {}, node("th", {scope: "row", text: name}), ...list.map((track) => node("td", {text: of(track)})), node("td", {className: "meaning", text: meaning}));
      const gone = "exploded", of = (name) => (track) => (track.exploded ? gone : track.end ? estimate(track.end[name]) : "…");
      body.replaceChildren(
        row("Evaluations", (track) => String(track.end?.evaluations ?? track.exploded?.evaluations ?? "…"), "times the score was asked, each for all particles"),
        row("Distance", of("distance"), "sliced Wasserstein, in units of the axes, ± over directions"),
        row("its floor", (track) => (track.end ? estimate({value: track.end.floor.value, error: track.end.floor.spread}) : "…"), "what as many fresh samples have, ± the spread of one"),
        row("MMD²", of("mmd"), "unbiased, ± one standard error"),
        row("its floor", of("mmd_floor"), "the mean size for fresh samples"),
        row("Step × curvature", (track) => (track.plan?.stability ? `${Number(track.plan.stability.value.toPrecision(3))}${track.plan.stability.bound === null ? "" : ` of ${track.plan.stability.bound}`}` : track.plan ? "no bound" : "…"), "above its bound a walk explodes"),
        row("Target", (track) => (known(parse(track.sampler)?.id ?? "")?.fixed ? `density + noise ${runOf(context.about, context.state)?.level ?? context.state.sigma}` : "density"), "what the walk should end in"),
      );
      if (!list.every((track) => track.over)) return;
      const words = list.map((track) => (track.exploded ? `${titleOf(track)} exploded at step ${track.exploded.step}. ${track.plan.says}` : track.end ? `${titleOf(track)} ended ${track.end.distance.value.toPrecision(2)} from the target.` : "")).join(" ");
      if (words !== said) context.announce(words);
      said = words;
    }

    // Walks
    const bodyOf = (state, sampler) => ({
      density: chosen(state), method: state.method, run: state.run, sigma: state.sigma, sampler, n: state.n, evaluations: state.evaluations,
      seed: state.seed, start: state.from === "point" ? state.start : null, frames: FRAMES,
    });

    async function follow(track, asked, signal) {
      try {
        for await (const line of stream("/api/walk", asked, {signal})) {
          if (signal.aborted) return;
          if (line.kind === "failed") throw new Error(line.message);
          track.take(line);
          arrived();
        }
        if (track.plan.static || track.exploded) return;
        for await (const line of stream("/api/walk/ladder", asked, {signal})) {
          if (signal.aborted) return;
          track.take(line);
          distances.show(curves());
        }
      } catch (error) {
        if (error.name === "AbortError") return;
        track.failed = true;
        track.where.textContent = "This walk cannot be done.";
        context.fail(error);
      }
    }

    let pending = false;
    function arrived() {
      if (pending) return;
      pending = true;
      requestAnimationFrame(() => {
        pending = false;
        if (over.signal.aborted) return;
        const at = context.state.at, done = live().every((track) => track.over);
        if (at >= 0) seek(at);
        else if (calm.matches) { if (done) seek(total()); }
        else if (!playing && clock < total() && live().every((track) => track.frames.length)) go();
        if (!playing) seek(clock);
        finished();
        root.dataset.walked = done ? "yes" : "no";
      });
    }

    /* A network that nobody trained for this density yet learns before the particles are released. */
    async function learned(state, signal) {
      if (state.method !== "energy" && state.method !== "network") return;
      const {missing} = await post("/api/field", {density: chosen(state), method: state.method, run: state.run, n: 2, fine: 2}, {signal});
      if (missing !== "network") return;
      for await (const line of stream("/api/field/train", {density: chosen(state), kind: state.method, run: state.run}, {signal})) {
        if (line.kind === "failed") throw new Error(line.message);
        for (const track of live()) track.where.textContent = `The network learns: step ${line.step} of ${line.steps}.`;
      }
    }

    async function release(state) {
      over?.abort();
      over = new AbortController();
      pause();
      clock = 0;
      said = "";
      root.dataset.walked = "no";
      context.clear();
      [state.a, state.b].forEach((sampler, k) => {
        tracks[k].clear(sampler);
        tracks[k].failed = false;
        tracks[k].element.hidden = !sampler;
      });
      pair.classList.toggle("single", !state.b);
      scrub.set(0);
      finished();
      const {signal} = over;
      try {
        await learned(state, signal);
      } catch (error) {
        if (error.name !== "AbortError") context.fail(error);
        return;
      }
      if (signal.aborted) return;
      for (const track of live()) follow(track, bodyOf(state, track.sampler), signal);
    }

    // Controls
    const set = (patch, how = {commit: true}) => context.set({...patch, at: -1}, how);
    const tries = node("div", {className: "chips"}, ...TRIES.map(([words, why, patch]) => {
      const chip = button(words, () => set({density: "mixture", modes: parameters.modes.value, method: "exact", n: 400, ...patch}), {kind: "chip"});
      chip.element.title = why;
      return chip.element;
    }));
    const about = sourceControls(context, {adapt: ({level}) => (level === null ? {} : {a: "Langevin(size=0.005)", b: "Underdamped(size=0.05, friction=1)", evaluations: 200})});
    const sigma = slider("Noise level of the one score", {min: 0.02, max: 2, log: true, value: 0.1, hint: "The first three samplers walk in the score of x₀ + σz at this σ."}, (value, how) => set({sigma: value}, how));
    const one = node("p", {className: "hint", text: "This run is a static score: it knows one noise level, its own. Langevin, MALA and Underdamped walk in it; the others come down noise levels, and need a denoiser."});
    const first = samplerControls("Left", parameters.a.value, (a, how) => set({a}, how));
    const second = samplerControls("Right, on the same draws", parameters.b.value, (b, how) => set({b}, how), {none: "Nothing: one walk alone"});
    const evaluations = slider("Network evaluations", {min: 4, max: 1000, log: true, value: 60, format: (v) => String(Math.round(v))}, (value, how) => set({evaluations: Math.round(value)}, how));
    const n = slider("Particles", {min: 50, max: 1000, step: 50, value: 400}, (value, how) => set({n: value}, how));
    const from = radio("Released from", [["noise", "Noise"], ["point", "A point"]], "noise", (value) => set({from: value}));
    const seed = numeric("Seed of the draws", {min: 0, max: 2 ** 31 - 1, value: 0}, (value) => set({seed: Math.round(value)}));
    panel.append(
      group("Try", tries),
      group("Samplers", first.element, second.element, evaluations.element),
      group("In which score", about.element, one, sigma.element),
      group("Particles", n.element, from.element, seed.element),
    );
    context.onTheme(() => { tracks.forEach((track) => track.plot.refresh()); distances.refresh(); });

    return {
      update(state) {
        about.set(state);
        first.set(state.a);
        second.set(state.b);
        const level = runOf(context.about, state)?.level ?? null;
        one.hidden = level === null;
        sigma.enable(level === null);
        sigma.set(level ?? state.sigma);
        evaluations.set(state.evaluations);
        n.set(state.n);
        from.set(state.from);
        seed.set(state.seed);
        const fixed = [state.a, state.b].filter(Boolean).map((each) => Boolean(known(parse(each)?.id ?? "")?.fixed));
        sigma.element.hidden = !fixed.includes(true);
        hint.textContent = `Lines: the particles on their way.${fixed.includes(false) ? " Dots: the ends of walks that were given only so many evaluations." : ""}`;
        grips.forEach((each) => { each.element.hidden = state.from !== "point"; each.set(state.start); });
        const wanted = JSON.stringify([bodyOf(state, state.a), state.b]);
        if (wanted !== key) {
          const soon = key === "" ? 0 : 140;
          key = wanted;
          cancel();
          cancel = later(() => release(state), soon);
        } else if (state.at >= 0 && Math.round(clock) !== state.at) {
          pause();
          seek(state.at);
        }
        code.ask({walk: bodyOf(state, state.a), second: state.b});
      },
      unmount() {
        over?.abort();
        cancel();
        pause();
        code.stop();
        distances.stop();
        tracks.forEach((track) => track.plot.stop());
      },
    };
  },
};
