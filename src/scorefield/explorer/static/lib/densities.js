/* The laws of `scorefield.exact` in the browser, for what must move at the speed of a hand: under noise x = x_0 + σ z,

     log p_σ = log Σ_k w_k N(x; m_k, (s_k² + σ²) I),     s = Σ_k r_k (m_k − x)/(s_k² + σ²),     E[x_0|x] = x + σ² s
     div s = Σ_k r_k (|m_k − x|²/(s_k² + σ²) − 2)/(s_k² + σ²) − |s|²

   Modes are rows [x, y, std, weight]; clean points are modes of std 0. A test compares every function with Python's. */

const NATS = Math.log(2 * Math.PI);

export function responsibilities(modes, x, y, sigma) {
  let total = 0, top = -Infinity;
  const logs = modes.map(([mx, my, std, weight]) => {
    const v = std * std + sigma * sigma;
    total += weight;
    const log = Math.log(weight) - ((x - mx) ** 2 + (y - my) ** 2) / (2 * v) - Math.log(v) - NATS;
    top = Math.max(top, log);
    return log;
  });
  let sum = 0;
  const r = logs.map((log) => { const each = Math.exp(log - top); sum += each; return each; });
  return {r: r.map((each) => each / sum), logDensity: top + Math.log(sum) - Math.log(total)};
}

/* {logDensity, score: [s1, s2], denoised: [x1, x2]} at one place. */
export function at(modes, x, y, sigma) {
  const {r, logDensity} = responsibilities(modes, x, y, sigma);
  let sx = 0, sy = 0;
  modes.forEach(([mx, my, std], k) => {
    const pull = r[k] / (std * std + sigma * sigma);
    sx += pull * (mx - x);
    sy += pull * (my - y);
  });
  return {logDensity, score: [sx, sy], denoised: [x + sigma * sigma * sx, y + sigma * sigma * sy]};
}

/* Score (n·n × 2), its divergence and log-density (n·n) on a lattice of the square, rows from the bottom. Written for speed: no
   object is made for a point. */
export function field(modes, sigma, n, half = 3) {
  const K = modes.length, score = new Float32Array(2 * n * n), divergence = new Float32Array(n * n), logDensity = new Float32Array(n * n);
  const mx = new Float64Array(K), my = new Float64Array(K), half_v = new Float64Array(K), base = new Float64Array(K), logs = new Float64Array(K);
  const total = Math.log(modes.reduce((sum, mode) => sum + mode[3], 0));
  for (let k = 0; k < K; k += 1) {
    const v = modes[k][2] ** 2 + sigma * sigma;
    mx[k] = modes[k][0];
    my[k] = modes[k][1];
    half_v[k] = 0.5 / v;
    base[k] = Math.log(modes[k][3]) - Math.log(v) - NATS - total;
  }
  for (let j = 0; j < n; j += 1) {
    const y = -half + 2 * half * j / (n - 1);
    for (let i = 0; i < n; i += 1) {
      const x = -half + 2 * half * i / (n - 1);
      let top = -Infinity;
      for (let k = 0; k < K; k += 1) {
        logs[k] = base[k] - ((x - mx[k]) ** 2 + (y - my[k]) ** 2) * half_v[k];
        if (logs[k] > top) top = logs[k];
      }
      let sum = 0, sx = 0, sy = 0, bend = 0;
      for (let k = 0; k < K; k += 1) {
        const dx = mx[k] - x, dy = my[k] - y, r = Math.exp(logs[k] - top), pull = 2 * half_v[k] * r;
        sum += r;
        sx += pull * dx;
        sy += pull * dy;
        bend += pull * (2 * half_v[k] * (dx * dx + dy * dy) - 2);
      }
      const p = j * n + i, a = sx / sum, b = sy / sum;
      score[2 * p] = a;
      score[2 * p + 1] = b;
      divergence[p] = bend / sum - a * a - b * b;
      logDensity[p] = top + Math.log(sum);
    }
  }
  return {score, divergence, logDensity};
}
