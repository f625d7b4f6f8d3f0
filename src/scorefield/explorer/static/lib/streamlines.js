/* Streamlines of a field on a lattice, evenly apart (after Jobard and Lefer 1997): each begins in a cell that no line has entered
   yet, follows the field both ways by the midpoint rule, and ends where it would enter another line's cell. */

const STEP = 0.04, MOST = 220, SHORTEST = 8;

export function streamlines(plot, vectors, n, {colour = plot.colours.arrow, width = 1.3, apart = 0.2} = {}) {
  const {half, draw: c} = plot, cells = Math.ceil(2 * half / apart), taken = new Int32Array(cells * cells);
  const cell = (x, y) => {
    const i = Math.floor((x + half) / apart), j = Math.floor((y + half) / apart);
    return i < 0 || j < 0 || i >= cells || j >= cells ? -1 : j * cells + i;
  };
  c.save();
  c.strokeStyle = c.fillStyle = colour;
  c.lineWidth = width;
  c.lineJoin = "round";
  let mark = 0;
  for (let j = 0; j < cells; j += 1) {
    for (let i = 0; i < cells; i += 1) {
      if (taken[j * cells + i]) continue;
      mark += 1;
      const start = [(i + 0.5) * apart - half, (j + 0.5) * apart - half];
      const follow = (sign) => trace(vectors, n, start, sign, mark, taken, cell, half);
      const line = [...follow(-1).reverse(), start, ...follow(1)];
      if (line.length < SHORTEST) continue;
      c.beginPath();
      line.forEach(([x, y], k) => c[k ? "lineTo" : "moveTo"](plot.x(x), plot.y(y)));
      c.stroke();
      const middle = Math.min(line.length - 2, Math.floor(line.length * 0.6));
      head(plot, line[middle], line[middle + 1]);
    }
  }
  c.restore();
}

/* The field at (x, y) between the points of an n × n lattice. */
export function bilinear(vectors, n, x, y, half = 3) {
  const u = Math.min(n - 1.000001, Math.max(0, (x + half) / (2 * half) * (n - 1)));
  const v = Math.min(n - 1.000001, Math.max(0, (y + half) / (2 * half) * (n - 1)));
  const i = Math.floor(u), j = Math.floor(v), a = u - i, b = v - j, k = 2 * (j * n + i);
  return [0, 1].map((d) => (1 - b) * ((1 - a) * vectors[k + d] + a * vectors[k + 2 + d])
    + b * ((1 - a) * vectors[k + 2 * n + d] + a * vectors[k + 2 * n + 2 + d]));
}

function trace(vectors, n, [x, y], sign, mark, taken, cell, half) {
  const line = [], h = STEP * sign;
  const along = (u, v) => {
    const [a, b] = bilinear(vectors, n, u, v, half), size = Math.hypot(a, b);
    return size > 1e-9 ? [a / size, b / size] : null;
  };
  let before = cell(x, y), last = null;
  taken[before] = mark;
  for (let k = 0; k < MOST; k += 1) {
    const first = along(x, y);
    const second = first && along(x + 0.5 * h * first[0], y + 0.5 * h * first[1]);
    if (!second || (last && second[0] * last[0] + second[1] * last[1] < 0)) break;
    last = second;
    x += h * second[0];
    y += h * second[1];
    const now = cell(x, y);
    if (now < 0 || (now !== before && taken[now])) break;
    taken[now] = mark;
    before = now;
    line.push([x, y]);
  }
  return line;
}

function head(plot, [x0, y0], [x1, y1], size = 5) {
  const x = plot.x(x1), y = plot.y(y1), angle = Math.atan2(y - plot.y(y0), x - plot.x(x0)), c = plot.draw;
  c.beginPath();
  c.moveTo(x + size * 0.6 * Math.cos(angle), y + size * 0.6 * Math.sin(angle));
  c.lineTo(x + size * Math.cos(angle + 2.5), y + size * Math.sin(angle + 2.5));
  c.lineTo(x + size * Math.cos(angle - 2.5), y + size * Math.sin(angle - 2.5));
  c.closePath();
  c.fill();
}
