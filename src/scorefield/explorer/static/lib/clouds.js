/* Sums of Gaussians of one width on a lattice, at the speed of a hand: the laws of curves, and of the rows of a table.

     p(x) = Σ_k w_k N(x; m_k, v I),  v = s² + σ²,      ∇ log p = (E m − x)/v,      Δ log p = (E|m|² − |E m|²)/v² − 2/v

   where E is over r_k ∝ w_k exp(−|x − m_k|²/2v). On a lattice exp(−|x − m_k|²/2v) = A_ik B_jk, so that the sums are products of
   matrices: 2nK exponentials and not n²K. Where such a product is too small for a number, far from everything under little noise,
   the sum is over the nodes that weigh more than e⁻²² of the greatest, found for 4 × 4 points at a time. */

const NATS = Math.log(2 * Math.PI), LEAST = 1e-250, NARROW = 0.006, SMALL = 22, BLOCK = 4;

/* {logDensity (n·n), score (n·n × 2) if order ≥ 1, divergence (n·n) if order = 2}, rows from the bottom. */
export function cloud({means, weights, std}, sigma, n, order = 1, half = 3) {
  const K = means.length / 2, v = std * std + sigma * sigma, total = weights ? weights.reduce((a, b) => a + b, 0) : K;
  const w = Float64Array.from({length: K}, (_, k) => (weights ? weights[k] : 1) / total);
  const nodes = {K, v, w, logs: w.map(Math.log), mx: w.map((_, k) => means[2 * k]), my: w.map((_, k) => means[2 * k + 1])};
  const at = Float64Array.from({length: n}, (_, i) => -half + 2 * half * i / (n - 1));
  const logDensity = new Float32Array(n * n), score = order > 0 ? new Float32Array(2 * n * n) : null, divergence = order > 1 ? new Float32Array(n * n) : null;
  /* What the sums over r at a lattice point mean: `top` is the logarithm of the factor that was left out of them. */
  const put = (i, j, top, p, px, py, pp) => {
    const place = j * n + i, ex = px / p, ey = py / p;
    logDensity[place] = top + Math.log(p) - Math.log(v) - NATS;
    if (score) {
      score[2 * place] = (ex - at[i]) / v;
      score[2 * place + 1] = (ey - at[j]) / v;
    }
    if (divergence) divergence[place] = (pp / p - ex * ex - ey * ey) / (v * v) - 2 / v;
  };
  (v < NARROW ? blocks : products)(nodes, at, put, order);
  return {logDensity, score, divergence};
}

/* A[i, k] = exp((a_i − (x_i − m_k)²)/2v), a_i the least of the squares. */
function factors(m, at, v) {
  const K = m.length, n = at.length, A = new Float64Array(n * K), least = new Float64Array(n).fill(Infinity);
  for (let i = 0, o = 0; i < n; i += 1) {
    const x = at[i];
    let low = Infinity;
    for (let k = 0; k < K; k += 1) low = Math.min(low, (x - m[k]) * (x - m[k]));
    for (let k = 0; k < K; k += 1, o += 1) A[o] = Math.exp((low - (x - m[k]) * (x - m[k])) / (2 * v));
    least[i] = low;
  }
  return [A, least];
}

function products(nodes, at, put, order) {
  const {K, v, mx, my, w} = nodes, n = at.length, [A, a] = factors(mx, at, v), [B, b] = factors(my, at, v);
  const g = new Float64Array(K), gx = new Float64Array(K), gy = new Float64Array(K), gg = new Float64Array(K), all = g.map((_, k) => k), sums = new Float64Array(4);
  const done = (i, j, p, px, py, pp) => {
    if (p > LEAST) put(i, j, -(a[i] + b[j]) / (2 * v), p, px, py, pp);
    else near(nodes, all, K, at, i, j, put);
  };
  for (let j = 0; j < n; j += 1) {
    for (let k = 0; k < K; k += 1) {
      g[k] = w[k] * B[j * K + k];
      gx[k] = g[k] * mx[k];
      gy[k] = g[k] * my[k];
      gg[k] = gx[k] * mx[k] + gy[k] * my[k];
    }
    if (order) for (let i = 0; i < n; i += 1) { moments(A, i * K, g, gx, gy, gg, sums); done(i, j, sums[0], sums[1], sums[2], sums[3]); }
    else for (let i = 0; i < n; i += 4) { four(A, i * K, g, sums); for (let m = 0; m < 4 && i + m < n; m += 1) done(i + m, j, sums[m]); }
  }
}

/* Four sums at a time, so that none waits for another: of four moments at one point, or of p at four points. */
function moments(A, o, g, gx, gy, gg, sums) {
  let p = 0, px = 0, py = 0, pp = 0;
  for (let k = 0; k < g.length; k += 1) { const e = A[o + k]; p += e * g[k]; px += e * gx[k]; py += e * gy[k]; pp += e * gg[k]; }
  sums[0] = p; sums[1] = px; sums[2] = py; sums[3] = pp;
}

function four(A, o, g, sums) {
  const K = g.length;
  let p0 = 0, p1 = 0, p2 = 0, p3 = 0;
  for (let k = 0; k < K; k += 1, o += 1) { const e = g[k]; p0 += e * A[o]; p1 += e * A[o + K]; p2 += e * A[o + 2 * K]; p3 += e * A[o + 3 * K]; }
  sums[0] = p0; sums[1] = p1; sums[2] = p2; sums[3] = p3;
}

/* The sums over the first nodes of `chosen`, by their greatest term. */
function near({v, mx, my, logs}, chosen, count, at, i, j, put) {
  const x = at[i], y = at[j], log = (k) => logs[k] - ((x - mx[k]) * (x - mx[k]) + (y - my[k]) * (y - my[k])) / (2 * v);
  let top = -Infinity, p = 0, px = 0, py = 0, pp = 0;
  for (let q = 0; q < count; q += 1) top = Math.max(top, log(chosen[q]));
  for (let q = 0; q < count; q += 1) {
    const k = chosen[q], under = log(k) - top;
    if (under < -SMALL) continue;
    const r = Math.exp(under);
    p += r;
    px += r * mx[k];
    py += r * my[k];
    pp += r * (mx[k] * mx[k] + my[k] * my[k]);
  }
  put(i, j, top, p, px, py, pp);
}

/* Every point of a block lies within `reach` of its middle: a node that even from the nearest of them weighs little beside what the
   best weighs from the farthest, weighs little for all. */
function blocks(nodes, at, put) {
  const {K, v, mx, my, logs} = nodes, away = new Float64Array(K), chosen = new Int32Array(K), n = at.length;
  for (let j0 = 0; j0 < n; j0 += BLOCK) {
    for (let i0 = 0; i0 < n; i0 += BLOCK) {
      const i1 = Math.min(n, i0 + BLOCK) - 1, j1 = Math.min(n, j0 + BLOCK) - 1, x = (at[i0] + at[i1]) / 2, y = (at[j0] + at[j1]) / 2;
      const reach = Math.hypot(at[i1] - x, at[j1] - y);
      let best = -Infinity, count = 0;
      for (let k = 0; k < K; k += 1) {
        away[k] = Math.sqrt((x - mx[k]) * (x - mx[k]) + (y - my[k]) * (y - my[k]));
        best = Math.max(best, logs[k] - (away[k] + reach) * (away[k] + reach) / (2 * v));
      }
      for (let k = 0; k < K; k += 1) {
        const close = Math.max(0, away[k] - reach);
        if (logs[k] - close * close / (2 * v) > best - SMALL) chosen[count++] = k;
      }
      for (let j = j0; j <= j1; j += 1) for (let i = i0; i <= i1; i += 1) near(nodes, chosen, count, at, i, j, put);
    }
  }
}
