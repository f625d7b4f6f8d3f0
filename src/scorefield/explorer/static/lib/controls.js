/* Controls with a label each, that a keyboard reaches and a screen reader names. Every one is
   {element, set(value), enable(yes)}; `changed(value, {commit})` is called while it moves (commit false) and when it rests. */

let count = 0;

export function node(tag, {text, ...attributes} = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "className") made.className = value;
    else if (typeof value === "boolean") made.toggleAttribute(name, value);
    else if (value !== undefined && value !== null) made.setAttribute(name, value);
  }
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

const labelled = (label, control, hint) => {
  const id = control.id || (control.id = `control-${count += 1}`);
  const box = node("div", {className: "control"}, node("label", {for: id, text: label}), control);
  if (hint) {
    box.append(node("p", {className: "hint", id: `${id}-hint`, text: hint}));
    control.setAttribute("aria-describedby", `${id}-hint`);
  }
  return box;
};

/* A slider from min to max, in equal steps of the value or, with log: true, of its logarithm. */
export function slider(label, {min, max, value, log = false, step, hint, unit = "", format}, changed) {
  const to = log ? (v) => Math.log(v / min) / Math.log(max / min) : (v) => (v - min) / (max - min);
  const from = (t) => {
    const found = log ? min * (max / min) ** t : min + t * (max - min);
    if (step) return Math.round(found / step) * step;
    return Number(found.toPrecision(3));
  };
  const words = format ?? ((v) => `${Number(v.toPrecision(3))}${unit && ` ${unit}`}`);
  const fine = step && !log ? step / (max - min) : 0.005;
  const input = node("input", {type: "range", min: 0, max: 1, step: "any", id: `control-${count += 1}`});
  const shown = node("output", {for: input.id});
  const box = labelled(label, input, hint);
  box.firstChild.append(shown);
  box.classList.add("slider");
  let now = value;
  const show = () => {
    shown.textContent = words(now);
    input.value = Math.min(1, Math.max(0, to(now)));
    input.style.setProperty("--filled", `${100 * input.value}%`);
    input.setAttribute("aria-valuetext", words(now));
  };
  const move = (next, commit) => { now = Math.min(max, Math.max(min, next)); show(); changed(now, {commit}); };
  input.addEventListener("input", () => move(from(Number(input.value)), false));
  input.addEventListener("change", () => changed(now, {commit: true}));
  input.addEventListener("keydown", (event) => {
    const hop = {ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10}[event.key];
    const end = {Home: min, End: max}[event.key];
    if (hop === undefined && end === undefined) return;
    event.preventDefault();
    const t = Math.min(1, Math.max(0, to(now) + hop * Math.max(fine, 0.01)));
    move(end ?? (step && !log ? Math.round((now + hop * step) / step) * step : from(t)), true);
  });
  show();
  return {element: box, input, set(v) { now = v; show(); }, enable(yes) { input.disabled = !yes; }};
}

/* A list to choose from: options are [value, words] or values. */
export function select(label, options, value, changed, {hint} = {}) {
  const input = node("select");
  const fill = (list) => input.replaceChildren(...list.map((each) => {
    const [name, words] = Array.isArray(each) ? each : [each, each];
    return node("option", {value: name, text: words});
  }));
  fill(options);
  input.value = value;
  input.addEventListener("change", () => changed(input.value, {commit: true}));
  return {element: labelled(label, input, hint), input, fill, set(v) { input.value = v; }, enable(yes) { input.disabled = !yes; }};
}

/* A few choices side by side: radio buttons. Arrow keys move among them. */
export function radio(label, options, value, changed) {
  const name = `choice-${count += 1}`;
  const row = node("div", {className: "choices"});
  const inputs = options.map(([each, words]) => {
    const input = node("input", {type: "radio", name, value: each, id: `${name}-${each}`});
    input.checked = each === value;
    input.addEventListener("change", () => changed(each, {commit: true}));
    row.append(input, node("label", {for: input.id, text: words}));
    return input;
  });
  const element = node("fieldset", {className: "control"}, node("legend", {text: label}), row);
  return {
    element,
    set(v) { for (const input of inputs) input.checked = input.value === v; },
    enable(yes, only) { for (const input of inputs) if (only === undefined || input.value === only) input.disabled = !yes; },
  };
}

export function checkbox(label, value, changed) {
  const input = node("input", {type: "checkbox", id: `control-${count += 1}`});
  input.checked = value;
  input.addEventListener("change", () => changed(input.checked, {commit: true}));
  return {
    element: node("div", {className: "control check"}, input, node("label", {for: input.id, text: label})),
    input, set(v) { input.checked = v; }, enable(yes) { input.disabled = !yes; },
  };
}

export function numeric(label, {min, max, step = 1, value, hint}, changed) {
  const input = node("input", {type: "number", min, max, step});
  input.value = value;
  input.addEventListener("change", () => {
    const found = Number(input.value);
    const good = input.value !== "" && Number.isFinite(found) ? Math.min(max, Math.max(min, found)) : value;
    input.value = good;
    changed(good, {commit: true});
  });
  return {element: labelled(label, input, hint), input, set(v) { input.value = v; }, enable(yes) { input.disabled = !yes; }};
}

export function button(words, pressed, {kind = "", label} = {}) {
  const element = node("button", {type: "button", className: kind, text: words, "aria-label": label});
  element.addEventListener("click", pressed);
  return {element, set(text) { element.textContent = text; }, enable(yes) { element.disabled = !yes; }};
}

/* A file of text that stays on this machine. */
export function file(label, accept, chosen, {hint} = {}) {
  const input = node("input", {type: "file", accept});
  input.addEventListener("change", async () => {
    const [found] = input.files;
    if (found) await chosen(await found.text(), found.name);
    input.value = "";
  });
  return {element: labelled(label, input, hint), input};
}

/* The numbers of a picture as a table: rows of [name, value, meaning]. */
export function table(caption) {
  const body = node("tbody");
  const element = node("table", {className: "numbers"}, node("caption", {text: caption}), body);
  return {
    element,
    show(rows) {
      body.replaceChildren(...rows.map(([name, value, meaning]) => node("tr", {},
        node("th", {scope: "row", text: name}), node("td", {text: value}), node("td", {className: "meaning", text: meaning ?? ""}))));
    },
  };
}

/* The usual page of a view: a picture, controls beside it, numbers under those (`side`), and what comes below. */
export function layout(root) {
  const side = node("div", {className: "side"});
  const stage = node("section", {className: "stage", "aria-label": "Picture"});
  const panel = node("section", {className: "panel", "aria-label": "Controls"});
  const below = node("section", {className: "below", "aria-label": "Code"});
  root.replaceChildren(node("div", {className: "workbench"}, stage, node("div", {className: "beside"}, panel, side)), below);
  return {stage, panel, side, below};
}

export const group = (title, ...children) =>
  node("div", {className: "group", role: "group", "aria-label": title}, node("h2", {text: title}), ...children);
