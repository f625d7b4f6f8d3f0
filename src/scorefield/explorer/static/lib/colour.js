/* Colours: those of the theme from the style sheet, and scales whose steps look alike to the eye.

   sequential   from the paper to the strongest, monotone in lightness, never so strong that an arrow over it is lost
   diverging    two hues of equal strength about the paper, for numbers with a sign */

const LIGHT = [[255, 255, 255], [226, 238, 247], [186, 216, 235], [138, 187, 221], [98, 150, 208], [82, 112, 190], [96, 78, 166]];
const DARK = [[20, 24, 33], [38, 38, 84], [46, 66, 132], [38, 102, 148], [32, 136, 140], [64, 164, 112], [142, 178, 74]];

let known = null;        // the style sheet is asked once a theme: asking costs a layout

export function theme() {
  const name = document.documentElement.dataset.theme;
  if (known?.name === name) return known;
  const style = getComputedStyle(document.documentElement);
  const of = (each) => style.getPropertyValue(`--${each}`).trim();
  known = {
    name, dark: name === "dark",
    paper: of("plot"), ink: of("ink"), muted: of("muted"), line: of("line"), accent: of("accent"),
    arrow: of("arrow"), density: of("density"), warm: of("warm"), second: of("second"), good: of("good"), bad: of("bad"),
  };
  return known;
}

export function rgb(colour) {
  const hex = colour.replace("#", "");
  return [0, 2, 4].map((k) => parseInt(hex.slice(k, k + 2), 16));
}

const mix = (a, b, t) => a.map((each, k) => each + (b[k] - each) * t);

function between(stops, t) {
  const place = Math.min(1, Math.max(0, t)) * (stops.length - 1);
  const k = Math.min(stops.length - 2, Math.floor(place));
  return mix(stops[k], stops[k + 1], place - k);
}

/* Each scale is a function of t in [0, 1] to [r, g, b]. */
export function sequential(colours = theme()) {
  const stops = colours.dark ? DARK : LIGHT;
  return (t) => between(stops, t);
}

export function diverging(colours = theme()) {
  const paper = rgb(colours.paper);
  const [low, high] = colours.dark ? [[92, 160, 255], [255, 138, 92]] : [[33, 86, 178], [190, 66, 26]];
  return (t) => (t < 0.5 ? mix(paper, low, 1 - 2 * t) : mix(paper, high, 2 * t - 1));
}

/* From the paper to one colour, for densities under arrows. */
export function shade(colour, strength = 1, colours = theme()) {
  const paper = rgb(colours.paper), end = rgb(colour);
  return (t) => mix(paper, end, strength * Math.min(1, Math.max(0, t)));
}

export const css = ([r, g, b]) => `rgb(${Math.round(r)} ${Math.round(g)} ${Math.round(b)})`;
