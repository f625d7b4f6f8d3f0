/* The exact field while a hand drags, from the browser's own arithmetic and so within the frame; what rests is the server's.

     const quick = preview(N, FINE);
     quick.learn(state);      // fetches the law of a density that the server knows by now, and its arithmetic, once
     quick.knows(state)       // whether this state can be drawn here
     quick.look(state)        // {score, logDensity, map, largest, n, fine}, as /api/field would answer

   Where it takes longer than half a frame at 30 a second, what lies under the arrows is drawn less fine. */

import {counted, post} from "./api.js";
import {field} from "./densities.js";
import {chosen} from "./source.js";

const ORDER = {speed: 1, divergence: 2}, SLOW = 16, COARSEST = 40;

export function preview(n, finest) {
  const laws = new Map(), key = (state) => JSON.stringify([chosen(state), state.density === "run" ? state.run : ""]);
  const lawOf = (state) => {   // (sigma, n, order) -> what is under the arrows, and they
    if (state.density !== "mixture") return laws.get(key(state));
    const modes = chosen(state).modes.map(({x, y, std, weight}) => [x, y, std, weight]);
    return (sigma, size) => field(modes, sigma, size);
  };
  let fine = finest;
  return {
    async learn(state) {
      const name = key(state);
      if (state.density === "mixture" || laws.has(name)) return;
      laws.set(name, null);
      try {
        const [{lattice, read}, answer] = await counted(() => Promise.all([import("./laws.js"), post("/api/field/law", {density: chosen(state), run: state.run})]));
        const law = read(answer);
        laws.set(name, (sigma, size, order) => lattice(law, sigma, size, order));
      } catch { laws.delete(name); }   // the picture stays the server's, which tells what is wrong
    },
    knows: (state) => state.method === "exact" && Boolean(lawOf(state)),
    look(state) {
      const began = performance.now(), law = lawOf(state), {show, sigma} = state;
      const {score} = law(sigma, n, 1), under = law(sigma, fine, ORDER[show] ?? 0), used = fine;
      const map = show === "density" ? null : show === "speed" ? sizes(under.score) : show === "divergence" ? under.divergence : new Float32Array(fine * fine);
      const took = performance.now() - began;
      fine = took > SLOW ? Math.max(COARSEST, fine - 10) : took < SLOW / 2 ? Math.min(finest, fine + 10) : fine;
      return {score, logDensity: under.logDensity, map, largest: sizes(score).reduce((a, b) => Math.max(a, b), 0), fisher: null, n, fine: used};
    },
  };
}

/* The length of every arrow. */
export const sizes = (score) => Float32Array.from({length: score.length / 2}, (_, k) => Math.hypot(score[2 * k], score[2 * k + 1]));
