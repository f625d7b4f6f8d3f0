/* The smoothed laws of `scorefield.plane` on a lattice in the browser, for what must move at the speed of a hand: as `/api/field/law`
   hands them over, x = x_0 + σ z. With E over p(x_0 | x):   s = (E x_0 − x)/σ²,   Δ log p = (E|x_0|² − |E x_0|²)/σ⁴ − 2/σ².

   cloud          lib/clouds.js
   rings          p(ρ) = Σ_k ∫ N(r; R_k, s²) N(ρ | r) dr by Gauss–Hermite nodes, E x_0 = E r I₁/I₀(ρr/σ²) x/ρ
   checkerboard   products of Φ(above) − Φ(below), with z = (x_0 − x)/σ a truncated normal on every square

   A test compares every one with Python's. */

import {unpack} from "./api.js";
import {cloud} from "./clouds.js";

const TAU = 2 * Math.PI, HALF = 3;
const KINDS = {cloud, rings, checkerboard};

/* {logDensity (n·n), score (n·n × 2) where order ≥ 1, divergence (n·n) where order = 2}, rows from the bottom. */
export const lattice = (law, sigma, n, order) => KINDS[law.kind](law, sigma, n, order);

/* A law as the server writes it, its tensors unpacked. */
export const read = (law) => Object.fromEntries(Object.entries(law).map(([name, value]) => [name, value?.float32 ? unpack(value) : value]));

function filled(n, at) {
  const logDensity = new Float32Array(n * n), score = new Float32Array(2 * n * n), divergence = new Float32Array(n * n);
  for (let p = 0; p < n * n; p += 1) [logDensity[p], score[2 * p], score[2 * p + 1], divergence[p]] = at(p % n, Math.floor(p / n));
  return {logDensity, score, divergence};
}

const along = (n) => Array.from({length: n}, (_, i) => -HALF + 2 * HALF * i / (n - 1));

function rings({radii, std, nodes, weights}, sigma, n) {
  const x = along(n), known = new Map(), v = sigma * sigma, total = v + std * std;
  const radial = (rho) => {
    let p = 0, inward = 0, square = 0;
    const nearest = radii.reduce((a, R) => Math.min(a, (rho - R) ** 2), Infinity) / (2 * total);
    for (const R of radii) {
      const factor = Math.exp(nearest - (rho - R) ** 2 / (2 * total));
      nodes.forEach((z, q) => {
        const r = (R * v + rho * std * std) / total + std * sigma / Math.sqrt(total) * z, [i0, i1] = bessel(Math.abs(rho * r / v));
        p += factor * weights[q] * i0;
        inward += factor * weights[q] * r * i1 * Math.sign(r);
        square += factor * weights[q] * r * r * i0;
      });
    }
    inward /= p;
    return [Math.log(p) - nearest - Math.log(TAU * Math.sqrt(total) * sigma * radii.length), (inward - rho) / v, (square / p - inward ** 2) / (v * v) - 2 / v];
  };
  return filled(n, (i, j) => {   // the rings look the same from eight sides
    const a = Math.abs(2 * i - n + 1), b = Math.abs(2 * j - n + 1), key = Math.max(a, b) * n + Math.min(a, b), rho = Math.hypot(x[i], x[j]);
    if (!known.has(key)) known.set(key, radial(rho));
    const [log, s, divergence] = known.get(key), unit = s / (rho || 1);
    return [log, unit * x[i], unit * x[j], divergence];
  });
}

/* [e⁻ˣ I₀(x), e⁻ˣ I₁(x)] by the power series, and from 20 on by the asymptotic one (Abramowitz & Stegun 9.6.10, 9.7.1). */
function bessel(x) {
  let a = 1, b = 1, zero = 1, one = 1;
  if (x < 20) {
    for (let k = 1; a > 1e-15 * zero; k += 1) { a *= x * x / (4 * k * k); b *= x * x / (4 * k * (k + 1)); zero += a; one += b; }
    return [Math.exp(-x) * zero, Math.exp(-x) * one * x / 2];
  }
  for (let k = 1; k < 30 && Math.abs(b) > 1e-15; k += 1) {
    const odd = (2 * k - 1) ** 2;
    a *= odd / (8 * k * x);
    b *= (odd - 4) / (8 * k * x);
    zero += a;
    one += b;
  }
  return [zero / Math.sqrt(TAU * x), one / Math.sqrt(TAU * x)];
}

function checkerboard({low, side}, sigma, n) {
  const x = along(n), squares = low.flatMap((_, c) => low.map((__, d) => [c, d])).filter(([c, d]) => (c + d) % 2 === 0);
  const strip = x.map((at) => low.map((edge) => truncated((edge - at) / sigma, (edge + side - at) / sigma)));
  return filled(n, (i, j) => {
    const logs = squares.map(([c, d]) => strip[i][c][0] + strip[j][d][0]), top = Math.max(...logs);
    let p = 0, zx = 0, zy = 0, more = 0;
    squares.forEach(([c, d], k) => {
      const r = Math.exp(logs[k] - top);
      p += r;
      zx += r * strip[i][c][1];
      zy += r * strip[j][d][1];
      more += r * (strip[i][c][2] + strip[j][d][2]);
    });
    zx /= p;
    zy /= p;
    return [top + Math.log(p) - Math.log(squares.length * side * side), zx / sigma, zy / sigma, (more / p - zx * zx - zy * zy) / (sigma * sigma)];
  });
}

/* [log P(a < Z < b), E Z, E Z² − 1] of a standard normal Z between a and b, taken on the side where nothing cancels. */
function truncated(a, b) {
  const [lower, upper] = a > 0 ? [-b, -a] : [a, b], top = logPhi(upper), log = top + Math.log1p(-Math.exp(logPhi(lower) - top));
  const [fa, fb] = [a, b].map((u) => Math.exp(-u * u / 2 - Math.log(TAU) / 2 - log));
  return [log, fa - fb, a * fa - b * fb];
}

/* log Φ(u): a series near 0, a continued fraction in the tail (Abramowitz & Stegun 26.2.11, 26.2.14). */
function logPhi(u) {
  if (u > 3) return Math.log1p(-Math.exp(logPhi(-u)));
  const log = -u * u / 2 - Math.log(TAU) / 2;
  if (u < -3) {
    let below = -u;
    for (let k = 60; k > 0; k -= 1) below = -u + k / below;
    return log - Math.log(below);
  }
  let term = u, sum = u;
  for (let k = 3; Math.abs(term) > 1e-17; k += 2) { term *= u * u / k; sum += term; }
  return Math.log(0.5 + Math.exp(log) * sum);
}
