/* Forming: noisy images and what the model predicts of them, step by step, beside the nearest training images. */

import {button, node, slider} from "../../lib/controls.js";
import {tile, unpackImages} from "../../lib/pixels.js";

export const forming = {
  address: "forming",
  body: (state, {run, label}) => ({
    run, label, n: state.n, seed: state.seed, steps: state.steps, sampler: state.sampler, weight: Number(state.weight.toFixed(2)),
  }),

  make(parent, {model, set, context}) {
    const cards = node("div", {className: "tiles", role: "img"}), reel = node("div", {className: "strip"});
    const scrubber = node("div", {}), play = button("Play", () => (timer ? halt() : run()));
    let timer = 0;
    const halt = () => { clearInterval(timer); timer = 0; play.set("Play"); };
    function run() {
      let step = 0;
      play.set("Stop");
      timer = setInterval(() => {
        const last = walk.length - 1;
        set({step: step >= last ? 60 : step}, {commit: step >= last});
        if (step >= last) halt();
        step += 1;
      }, 140);
    }
    const film = node("figure", {className: "card"}, node("figcaption", {className: "caption", text: "Predictions of the first image, from pure noise to the end"}), reel);
    parent.append(cards, node("div", {className: "player-row"}, play.element, scrubber), film);
    let scrub = null, most = 0, walk = [], plan = null, end = null, tiles = [], reels = [];

    function lay(n) {
      tiles = Array.from({length: n}, () => {
        const made = {noisy: tile(), clean: tile(), near: tile(), caption: node("p", {className: "caption"})};
        made.element = node("div", {className: "card"},
          node("div", {className: "twin"},
            node("div", {}, made.noisy.element, node("p", {className: "caption", text: "noisy"})),
            node("div", {}, made.clean.element, node("p", {className: "caption", text: "predicted"}))),
          node("div", {className: "beside"}, made.near.element, made.caption));
        return made;
      });
      cards.style.setProperty("--tile", n === 1 ? "420px" : n <= 4 ? "300px" : "220px");
      cards.replaceChildren(...tiles.map(({element}) => element));
    }

    function paint() {
      if (!walk.length) return;
      const last = walk.length - 1, step = Math.min(context.state.step, last), now = walk[step];
      tiles.forEach((each, k) => {
        each.noisy.show(now.noisy[k]);
        each.clean.show(now.clean?.[k] ?? now.noisy[k]);
        each.clean.element.style.visibility = now.clean ? "" : "hidden";
        each.near.show(end?.nearest?.[k] ?? null);
        const label = plan.labels ? `class ${plan.labels[k]}` : "no class";
        each.caption.textContent = end?.nearest ? `${label}; the nearest training image is ${end.distances[k].toFixed(1)} away` : `${label}${end ? `. ${end.why}` : ""}`;
      });
      reels.forEach((each, k) => each.element.classList.toggle("now", each.step === step));
      const said = `${tiles.length} images at step ${step} of ${last}, noise level ${Number(now.sigma.toPrecision(2))}: on the left of each the noisy image, on the right the model's prediction.`;
      cards.setAttribute("aria-label", said + (plan.labels ? ` Classes ${plan.labels.join(", ")}.` : ""));
    }

    function strip() {
      const last = walk.length - 1, wanted = Math.min(12, last);
      reels = Array.from({length: wanted}, (_, k) => {
        const step = Math.max(1, Math.round((k + 1) * last / wanted)), made = tile();
        made.show((walk[step].clean ?? walk[step].noisy)[0]);
        made.element.setAttribute("aria-hidden", "true");
        made.element.title = `step ${step}, σ = ${Number(walk[step].sigma.toPrecision(2))}`;
        made.element.addEventListener("click", () => set({step: step === last ? 60 : step}));
        return {...made, step};
      });
      reel.replaceChildren(...reels.map(({element}) => element));
      reel.hidden = wanted < 2;
      film.hidden = wanted < 2;
    }

    return {
      show(event) {
        if (event.kind === "plan") {
          halt();
          plan = event;
          end = null;
          const noisy = unpackImages(event.noisy);
          walk = [{noisy, clean: null, sigma: event.sigma}];
          if (tiles.length !== noisy.length) lay(noisy.length);
        } else if (event.kind === "state") {
          walk.push({noisy: unpackImages(event.noisy), clean: event.clean ? unpackImages(event.clean) : null, sigma: event.sigma});
        } else if (event.kind === "end") {
          end = {...event, nearest: event.nearest && unpackImages(event.nearest)};
          scrubbed();
          strip();
        }
        scrubbed();
        paint();
      },
      update: () => { scrubbed(); paint(); },
      paint() { for (const each of tiles) { each.noisy.paint(); each.clean.paint(); each.near.paint(); } reels.forEach((each) => each.paint()); },
      numbers() {
        const rows = [["Steps", String(walk.length - 1), "from noise to image"], ["Time", `${end.seconds.toFixed(2)} s`, "for all of them, on this machine"]];
        if (end.nearest) {
          rows.push(["Nearest training image", end.distances.join(", "), "distance of each sample, in pixels from −1 to 1"]);
          rows.push(["New digits", String(end.usual), "median distance of held-out digits to the training images: nearer than that is suspicious of a copy"]);
        }
        return rows;
      },
      said: () => `${tiles.length} images are drawn.`,
      stop: halt,
    };

    /* The slider over the steps that there are. */
    function scrubbed() {
      const last = Math.max(1, walk.length - 1);
      if (end && last !== most) {
        most = last;
        scrub = slider("Step", {min: 0, max: last, step: 1, value: last, format: (k) => `${k} of ${last}`}, (k, how) => set({step: k === last ? 60 : k}, how));
        scrubber.replaceChildren(scrub.element);
      }
      scrub?.enable(end !== null);
      play.enable(end !== null);
      scrub?.set(Math.min(context.state.step, most));
    }
  },
};
