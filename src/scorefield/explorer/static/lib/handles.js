/* Things on a picture that are moved by pointer or arrow keys: buttons laid over the canvas, so that both can reach them.

     const handle = grip(plot, {label: "Mode 1", kind: "mode", moved: ([x, y], {commit}) => …, chosen: () => …});
     handle.set([x, y]);   handle.remove(); */

export function grip(plot, {label, kind = "", moved, chosen = () => {}, limit = plot.half}) {
  const element = document.createElement("button");
  element.type = "button";
  element.className = `grip ${kind}`;
  plot.layer.append(element);
  let at = [0, 0], held = null;
  const inside = (v) => Math.min(limit, Math.max(-limit, v));

  function set(place) {
    at = place;
    element.style.left = `${(place[0] + plot.half) / (2 * plot.half) * 100}%`;
    element.style.top = `${(plot.half - place[1]) / (2 * plot.half) * 100}%`;
    element.setAttribute("aria-label", `${label} at ${place[0].toFixed(2)}, ${place[1].toFixed(2)}. Arrow keys move it.`);
  }

  function move(place, commit) {
    set(place.map((v) => Number(inside(v).toFixed(3))));
    moved(at, {commit});
  }

  element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const box = plot.canvas.getBoundingClientRect();
    const [x, y] = plot.data(event.clientX - box.left, event.clientY - box.top);
    held = [at[0] - x, at[1] - y];
    element.setPointerCapture(event.pointerId);
    element.classList.add("held");
    chosen();
  });
  element.addEventListener("pointermove", (event) => {
    if (!held) return;
    const box = plot.canvas.getBoundingClientRect();
    const [x, y] = plot.data(event.clientX - box.left, event.clientY - box.top);
    move([x + held[0], y + held[1]], false);
  });
  const release = () => {
    if (!held) return;
    held = null;
    element.classList.remove("held");
    moved(at, {commit: true});
  };
  element.addEventListener("pointerup", release);
  element.addEventListener("pointercancel", release);
  element.addEventListener("focus", () => chosen());
  element.addEventListener("keydown", (event) => {
    const hop = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]}[event.key];
    if (!hop) return;
    event.preventDefault();
    const step = event.shiftKey ? 0.25 : 0.05;
    move([at[0] + step * hop[0], at[1] + step * hop[1]], true);
  });
  return {element, set, remove() { element.remove(); }};
}
