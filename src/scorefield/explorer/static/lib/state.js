/* Typed parameters with defaults, and the link that holds them. A value that a link gets wrong falls back to its default;
   a value at its default is left out of the link. */

const short = (value, digits = 4) => String(Number(value.toPrecision(digits)));

export const number = (value, {min = -Infinity, max = Infinity, digits = 4} = {}) => ({
  value,
  read: (text) => {
    const found = Number(text);
    return text.trim() !== "" && Number.isFinite(found) ? Math.min(max, Math.max(min, found)) : value;
  },
  write: (found) => short(found, digits),
});

export const integer = (value, {min = -Infinity, max = Infinity} = {}) => ({
  value,
  read: (text) => (/^-?\d+$/.test(text) ? Math.min(max, Math.max(min, Number(text))) : value),
  write: (found) => String(Math.round(found)),
});

export const choice = (value, options) => ({
  value,
  options,
  read: (text) => (options.includes(text) ? text : value),
  write: (found) => found,
});

export const text = (value, {most = 200} = {}) => ({
  value,
  read: (found) => found.slice(0, most),
  write: (found) => found,
});

/* Rows of numbers, "a,b;c,d": `sizes` are the numbers of a row that may be given, `fill` completes a row. */
export const rows = (value, {fill, most = 24, min = -Infinity, max = Infinity} = {}) => ({
  value,
  read: (found) => {
    const parsed = found.split(";").slice(0, most).map((row) => row.split(",").map(Number));
    const good = parsed.length > 0 && parsed.every((row) => row.length > 0 && row.length <= fill.length && row.every(Number.isFinite));
    if (!good) return value;
    return parsed.map((row) => fill.map((each, k) => Math.min(max, Math.max(min, k < row.length ? row[k] : each))));
  },
  write: (found) => found.map((row) => {
    let size = row.length;
    while (size > 1 && fill[size - 1] !== null && row[size - 1] === fill[size - 1]) size -= 1;
    return row.slice(0, size).map((each) => short(each)).join(",");
  }).join(";"),
});

/* A place in the plane, "x,y". */
export const place = (value, {min = -3, max = 3} = {}) => ({
  value,
  read: (found) => {
    const parsed = found.split(",").map(Number);
    return parsed.length === 2 && parsed.every(Number.isFinite) ? parsed.map((each) => Math.min(max, Math.max(min, each))) : value;
  },
  write: (found) => found.map((each) => short(each)).join(","),
});

export function read(parameters, search) {
  const given = new URLSearchParams(search);
  return Object.fromEntries(Object.entries(parameters).map(([name, kind]) =>
    [name, given.has(name) ? kind.read(given.get(name)) : kind.value]));
}

export function write(parameters, state) {
  const parts = [];
  for (const [name, kind] of Object.entries(parameters)) {
    const value = state[name] ?? kind.value;
    const written = kind.write(value);
    if (written !== kind.write(kind.value)) parts.push(`${name}=${encodeURIComponent(written).replace(/%2C/g, ",").replace(/%3B/g, ";")}`);
  }
  return parts.join("&");
}
