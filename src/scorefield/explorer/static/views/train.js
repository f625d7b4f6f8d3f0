/* Train: the same network, points and noise, learned by exact, sliced and denoising score matching at equal cost. The server trains and
   streams the fields, losses and divergences; the page pauses it, turns the noise level while it runs, and shows all of it. */

import {later, latest, post, stream, unpack} from "../lib/api.js";
import {Chart, estimate} from "../lib/chart.js";
import {showCode} from "../lib/code.js";
import {shade} from "../lib/colour.js";
import {button, checkbox, group, layout, node, numeric, radio, select, slider} from "../lib/controls.js";
import {LEVELS, Plot} from "../lib/plot.js";
import {chosen, densityName, source, sourceControls} from "../lib/source.js";
import {choice, integer, number, text} from "../lib/state.js";

const OBJECTIVES = [
  ["exact", "Exact", "½‖s‖² + div s", "accent"],
  ["sliced", "Sliced", "½(v·s)² + v·∇(v·s)", "second"],
  ["denoising", "Denoising", "½‖s + z/σ‖²", "warm"],
];
const COSTS = [["seconds", "Seconds"], ["evaluations", "Evaluations"], ["steps", "Steps"]];
const UNITS = {seconds: "seconds of training", evaluations: "network evaluations of a batch", steps: "steps"};
const N = 22, FINE = 60;

const parameters = {
  density: source.density, modes: source.modes, table: source.table, columns: source.columns, run: source.run,
  who: text("exact,sliced,denoising"),
  cost: choice("seconds", COSTS.map(([name]) => name)),
  sigma: number(0.3, {min: 0.05, max: 3, digits: 3}),
  rows: choice("10000", ["50", "500", "10000"]),
  width: choice("64", ["16", "64", "128"]),
  rate: number(0.002, {min: 0.0001, max: 0.05, digits: 2}),
  seed: integer(0, {min: 0, max: 2 ** 31 - 1}),
  stands: text(""),       // steps of each when it was stopped, "120.130.300": a link trains so far again, and waits
};

const TRIES = [
  ["Three ways to one field", {density: "mixture", who: "exact,sliced,denoising", sigma: 0.3, rows: "10000"}],
  ["Fifty points", {density: "moons", who: "exact,denoising", sigma: 0.1, rows: "50"}],
  ["Little noise is hard", {density: "mixture", who: "sliced,denoising", sigma: 0.05, rows: "10000"}],
  ["Equal arithmetic", {density: "rings", who: "exact,sliced,denoising", sigma: 0.3, cost: "evaluations", rows: "10000"}],
];

const title = (name) => OBJECTIVES.find(([id]) => id === name)[1];
export default {
  id: "train",
  title: "Train",
  heading: "Train before your eyes",
  lead: "Three losses, none of which knows the true score, and one field they all come to. Watch which comes there first, at equal cost.",
  parameters,

  mount(root, context) {
    const {stage, panel, below} = layout(root);
    const page = `page-${crypto.getRandomValues(new Uint32Array(2)).join("-")}`;
    const pair = node("div", {className: "pair trio"});
    let tracks = [], truth = null, density = null, zero = null, over = null, running = false, paused = false, asking = null, cancel = () => {}, key = "", ended = "", said = 0, sigmas = [], seen = "", returning = false;

    // Pictures
    const truthWalker = node("div", {className: "walker"}, node("h2", {className: "name", text: "The truth"}));
    const truthPlot = new Plot(truthWalker, {label: "The true field"});
    truthWalker.append(node("p", {className: "where", text: "in closed form, known to none of them"}));
    truthPlot.paint = (p) => { if (truth) field(p, truth); };
    const known = latest("/api/field", (answer, asked) => {
      truth = unpack(answer.score);
      density = unpack(answer.log_density);
      truthPlot.describe(`The true score field of ${densityName(context.state)} at noise level ${asked.sigma}.`);
      repaint();
    }, context.fail);
    const repaint = () => [truthPlot, ...tracks.map((track) => track.plot)].forEach((plot) => plot.refresh());

    function field(p, vectors, other) {
      const c = p.colours;
      if (other && zero) {
        const gap = new Float32Array(N * N);
        for (let k = 0; k < N * N; k += 1) gap[k] = Math.hypot(vectors[2 * k] - other[2 * k], vectors[2 * k + 1] - other[2 * k + 1]);
        const most = 2.5 * Math.sqrt(2 * zero);
        p.heat(gap.map((v) => Math.min(1, v / most)), N, {scale: shade(c.bad, c.dark ? 0.55 : 0.6, c), range: [0, 1]});
      }
      if (density) {
        const top = density.reduce((a, b) => Math.max(a, b), -Infinity);
        p.contours(density, FINE, LEVELS.map((below) => top - below), {colour: c.accent, alpha: 0.28});
      }
      if (vectors) p.arrows(vectors, N, {colour: c.arrow, width: 1.1});
    }

    function build(names) {
      tracks.forEach((track) => track.plot.stop());
      tracks = names.map((name) => {
        const [, words, formula, colour] = OBJECTIVES.find(([id]) => id === name);
        const heading = node("h2", {className: "name swatch", text: words}, node("span", {className: "formula-small", text: formula}));
        heading.style.setProperty("--key", `var(--${colour})`);
        const where = node("p", {className: "where", text: "Not begun."});
        const element = node("div", {className: "walker"}, heading);
        const plot = new Plot(element, {label: `The field of ${words}`});
        element.append(where);
        const track = {name, words, colour, element, plot, where, vectors: null, curve: [], now: null, failed: null};
        plot.paint = (p) => field(p, track.vectors, track.vectors && truth);
        return track;
      });
      pair.replaceChildren(...tracks.map((track) => track.element), truthWalker);
      pair.dataset.count = String(names.length + 1);
    }

    // The player
    const start = button("Train", () => {
      if (!running) begin();
      else change({paused: !paused});
    }, {kind: "strong"});
    const anew = button("Start anew", () => begin());
    const sigma = slider("Noise level σ, also while it runs", {min: 0.05, max: 3, log: true, value: 0.3}, (value, how) => {
      context.set({sigma: value, stands: ""}, how);
      if (running && how.commit) change({sigma: value});
    });
    stage.append(node("div", {className: "player", role: "group", "aria-label": "Training"}, start.element, anew.element, sigma.element));
    const summary = node("p", {className: "summary", text: "Press Train. It runs on this machine, in the library's own training loop."});
    const charts = node("div", {className: "charts"});
    const note = node("p", {className: "note", text: "Thin lines: the density. Red: where a field differs from the truth."});
    stage.append(summary, node("div", {className: "trainer"}, pair, node("div", {className: "aside"}, charts, note)));

    // Curves, numbers, code
    const divergence = new Chart(charts, {label: "Fisher divergence to the truth, nats per squared length", log: true});
    const loss = new Chart(charts, {label: "Held-out loss above that of the truth, nats: the same, in the mean"});
    const body = node("tbody"), headings = node("tr");
    below.append(node("div", {className: "scroller", tabindex: "0", role: "region", "aria-label": "Numbers"},
      node("table", {className: "numbers versus"}, node("caption", {text: "Where each stands"}), node("thead", {}, headings), body)));
    const code = showCode(below, "/api/train/code", {failed: context.fail});

    function draw() {
      const cost = context.state.cost;
      divergence.across = loss.across = UNITS[cost];
      const curves = (of) => tracks.map(({words, colour, curve}) => ({name: words, colour, points: curve.map((each) => [each[cost], of(each)])}));
      const marks = sigmas.map((each) => each[cost]);
      divergence.show({curves: curves((each) => each.fisher?.value ?? NaN), floors: zero ? [{name: "a score of zero", value: zero, colour: "muted"}] : [], marks});
      loss.show({curves: curves((each) => (each.above ?? each.loss).value), floors: zero ? [{name: "the truth", value: 0, colour: "good"}] : [], marks});
    }

    function tell() {
      const list = tracks.filter((track) => track.now);
      if (!list.length) return;
      headings.replaceChildren(node("th", {scope: "col", text: "Measure"}), ...list.map((track) => node("th", {scope: "col", text: track.words})), node("th", {scope: "col", className: "meaning", text: "Meaning"}));
      const row = (name, of, meaning) => node("tr", {}, node("th", {scope: "row", text: name}), ...list.map((track) => node("td", {text: of(track.now)})), node("td", {className: "meaning", text: meaning}));
      const measured = list[0].now.fisher;
      body.replaceChildren(
        row("Steps", (now) => String(now.steps), "each on the same rows with the same noise"),
        row("Seconds", (now) => now.seconds.toFixed(2), "in the training loop; measuring is not counted"),
        row("Evaluations", (now) => String(Math.round(now.evaluations)), "arithmetic, in forward passes of a batch"),
        row("Held-out loss", (now) => estimate(now.loss), "its own units: each has another constant"),
        ...(measured ? [
          row("above the truth's", (now) => estimate(now.above), "the mean difference on the same rows and noise"),
          row("Fisher divergence", (now) => estimate(now.fisher), `E ½‖s − s*‖² at σ = ${list[0].now.sigma}, ± one standard error`),
        ] : []),
      );
      const best = measured && [...list].sort((a, b) => a.now.fisher.value - b.now.fisher.value);
      const spent = list.map((track) => track.now[context.state.cost]), most = Math.max(...spent);
      const unit = {seconds: `${most.toFixed(1)} seconds`, evaluations: `${Math.round(most)} evaluations`, steps: `${most} steps`}[context.state.cost];
      const equal = Math.min(...spent) > 0.9 * most ? `${unit} each` : `up to ${unit}`;
      if (best && best[0].now.steps === 0) summary.textContent = "All start from a score of zero everywhere.";
      else if (best && best.length > 1) {
        const others = best.slice(1).map((track) => `${track.words} ${track.now.fisher.value.toPrecision(2)}`).join(", ");
        summary.textContent = `After ${equal}, ${best[0].words} stands nearest to the truth: Fisher divergence ${best[0].now.fisher.value.toPrecision(2)}, against ${others} and ${zero.toPrecision(2)} for a score of zero.`;
      } else if (best) summary.textContent = `After ${equal}, ${best[0].words} has brought the Fisher divergence from ${zero.toPrecision(2)} to ${best[0].now.fisher.value.toPrecision(2)}.`;
      for (const {plot, words, now, where} of list) {
        where.textContent = now.failed ? "It has broken off." : `${now.steps} steps · ${now.seconds.toFixed(1)} s${now.fisher ? ` · Fisher ${now.fisher.value.toPrecision(2)}` : ""}`;
        plot.describe(`Field of ${words} score matching in ${densityName(context.state)} after ${now.steps} steps${now.fisher ? `; Fisher divergence ${estimate(now.fisher)}` : ""}. Red where it differs from the truth.`);
      }
    }

    function announce(words) {
      said = performance.now();
      context.announce(words);
    }

    // Training
    const body_of = (state) => ({
      page, density: chosen(state), run: state.run, methods: state.who.split(",").filter((name) => OBJECTIVES.some(([id]) => id === name)), cost: state.cost,
      sigma: state.sigma, rows: Number(state.rows), width: Number(state.width), learning_rate: state.rate, seed: state.seed, n: N,
    });
    const untilOf = (state, count) => {
      const steps = state.stands.split(".").map(Number);
      return state.stands && steps.length === count && steps.every((each) => Number.isInteger(each) && each >= 0 && each <= 20000) ? steps : [];
    };

    function take(line) {
      if (line.zero !== undefined) {
        zero = line.zero;
        if (tracks[0].curve.length) sigmas.push(Object.fromEntries(COSTS.map(([name]) => [name, Math.max(...line.runs.map((each) => each[name]))])));
      }
      for (const each of line.runs) {
        const track = tracks.find(({name}) => name === each.name);
        track.vectors = unpack(each.field);
        track.now = {...each, sigma: line.sigma, field: null};
        track.curve.push(track.now);
        track.plot.refresh();
        if (each.failed && !track.failed) { track.failed = each.failed; context.fail(new Error(each.failed)); }
      }
      draw();
      tell();
      if (performance.now() - said > 12000) announce(summary.textContent);
      stands(line.paused);
      ask();
    }

    /* Whether it rests, as the stream has it. Lines that do not yet say what was pressed are from before. */
    function stands(rests) {
      if (asking !== null && asking !== rests) return;
      const pressed = asking !== null;
      asking = null;
      paused = rests;
      root.dataset.training = paused ? "paused" : "yes";
      if (pressed) announce(paused ? `Stopped. ${summary.textContent}` : "It goes on.");
    }

    function ask() {
      if (!asked || !tracks.every((track) => track.now)) return;
      const stands = tracks.map(({name, now}) => ({name, steps: now.steps, turns: now.turns}));
      if (running && (!paused || asking !== null)) {
        if (context.state.stands && !returning) context.set({stands: ""});
        return;
      }
      returning = false;
      code.ask({train: asked, stands});
      // Whoever opens the link sees the same fields; after the noise level was turned, only the same setting.
      const steps = stands.every(({turns}) => turns.length === 0) ? stands.map((each) => each.steps).join(".") : "";
      if (context.state.stands !== steps) context.set({stands: steps});
    }

    let asked = null, changes = Promise.resolve();
    async function begin({from = false} = {}) {
      over?.abort();
      const mine = over = new AbortController();
      const state = context.state;
      asked = body_of(state);
      const until = from ? untilOf(state, asked.methods.length) : [];
      returning = until.length > 0;
      if (!returning && state.stands) context.set({stands: ""});
      build(asked.methods);
      zero = null;
      sigmas = [];
      running = true;
      paused = false;
      asking = null;
      ended = "";
      root.dataset.training = "yes";
      context.clear();
      buttons();
      announce("Training has begun.");
      try {
        for await (const line of stream("/api/train", {...asked, until}, {signal: mine.signal})) {
          if (mine !== over) return;
          if (line.kind === "report") take(line);
          if (line.kind === "waiting") { stands(true); ask(); }
          buttons();
          if (line.kind === "end") ended = line.reason;
          if (line.kind === "failed") throw new Error(line.message);
        }
      } catch (error) {
        if (error.name === "AbortError") return;
        context.fail(error);
      }
      if (mine !== over) return;
      running = false;
      root.dataset.training = "no";
      buttons();
      ask();
      if (ended) announce(`Training has ended. ${ended}`);
    }

    /* Told to the server one after another; the button follows at once, the rest when the stream says so. */
    function change(what) {
      if ("paused" in what) {
        paused = asking = what.paused;
        root.dataset.training = "yes";
        buttons();
      }
      const mine = over;
      changes = changes.then(() => mine === over && post(`/api/train/${page}`, what))
        .then(() => { if ("sigma" in what) announce(`Noise level ${what.sigma}.`); })
        .catch((error) => { if (mine === over && running) context.fail(error); });
    }

    function buttons() {
      start.set(!running ? "Train" : paused ? "Continue" : "Stop");
      anew.enable(tracks.some((track) => track.now));
    }

    // Controls
    const set = (patch) => context.set({...patch, stands: ""}, {commit: true});
    const tries = node("div", {className: "chips"}, ...TRIES.map(([words, patch]) => button(words, () => { set({cost: "seconds", stands: "", ...patch}); begin(); }, {kind: "chip"}).element));
    const about = sourceControls(context, {methods: false});
    const boxes = OBJECTIVES.map(([name, words, formula]) => checkbox(`${words}: ${formula}`, true, () => {
      const who = OBJECTIVES.map(([id]) => id).filter((id, k) => boxes[k].input.checked);
      set({who: (who.length ? who : [name]).join(",")});
    }));
    const cost = radio("Equal in", COSTS, "seconds", (value) => set({cost: value}));
    const rows = radio("Points to learn from", [["50", "50"], ["500", "500"], ["10000", "10,000"]], "10000", (value) => set({rows: value}));
    const width = select("Neurons in a layer", ["16", "64", "128"], "64", (value) => set({width: value}));
    const rate = slider("Learning rate", {min: 0.0001, max: 0.05, log: true, value: 0.002}, (value, how) => context.set({rate: value, stands: ""}, how));
    const seed = numeric("Seed of weights, points and noise", {min: 0, max: 2 ** 31 - 1, value: 0}, (value) => set({seed: Math.round(value)}));
    panel.append(
      group("Try", tries),
      group("Objectives", ...boxes.map((each) => each.element), cost.element),
      group("What is learned", about.element, rows.element),
      group("The network", width.element, rate.element, seed.element),
    );
    context.onTheme(() => { repaint(); divergence.refresh(); loss.refresh(); });
    build(context.state.who.split(",").filter((name) => OBJECTIVES.some(([id]) => id === name)));
    root.dataset.training = "no";
    buttons();
    draw();

    return {
      update(state) {
        about.set(state);
        sigma.set(state.sigma);
        cost.set(state.cost);
        rows.set(state.rows);
        width.set(state.width);
        rate.set(state.rate);
        seed.set(state.seed);
        OBJECTIVES.forEach(([name], k) => boxes[k].set(state.who.split(",").includes(name)));
        const wanted = JSON.stringify({...body_of(state), sigma: 0});
        if (key && wanted !== key && running) {
          over?.abort();
          running = false;
          root.dataset.training = "no";
          buttons();
          summary.textContent = "The setting has changed: press Train to begin with it.";
        }
        if (wanted !== key && !running) build(body_of(state).methods);
        if (!key && untilOf(state, body_of(state).methods.length).length) cancel = later(() => begin({from: true}));
        key = wanted;
        const look = {density: chosen(state), method: "exact", run: state.run, sigma: state.sigma, n: N, fine: FINE};
        if (JSON.stringify(look) !== seen) { seen = JSON.stringify(look); known.ask(look); }
        draw();
      },
      unmount() {
        cancel();
        over?.abort();
        known.stop();
        code.stop();
        divergence.stop();
        loss.stop();
        truthPlot.stop();
        tracks.forEach((track) => track.plot.stop());
      },
    };
  },
};
