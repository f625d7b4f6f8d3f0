/* The shell: the list of views, the link, the theme, and what every view may ask of it.

   A link is #/VIEW?name=value&…: the whole state of a view, nothing else is kept. `set` changes the state and the link with it;
   going back in the browser's history brings a state back.

   What a view is, and what it may ask for, is written in docs/explore.md, "For contributors". */

import {get} from "./lib/api.js";
import {read, write} from "./lib/state.js";

const VIEWS = [
  ["field", "Field"],
  ["point", "One noisy point"],
  ["walk", "Walk"],
  ["train", "Train"],
  ["images", "Images"],
  ["exercises", "Predict, then look"],
  ["sources", "Sources"],
];

const element = (id) => document.getElementById(id);
const stored = (key) => { try { return localStorage.getItem(key); } catch { return null; } };
const store = (key, value) => { try { localStorage.setItem(key, value); } catch { /* private browsing */ } };

let current = null;      // {view, handle, state, themes, dragging, timer}
let about = null;
let turn = 0;            // counts navigations, so that a slow view cannot draw over a later one

function parse() {
  const [path, search = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const known = VIEWS.some(([id]) => id === path);
  return {id: known ? path : VIEWS[0][0], search: known ? search : ""};
}

function link(view, state) {
  const search = write(view.parameters, state);
  return `#/${view.id}${search ? `?${search}` : ""}`;
}

function fail(error) {
  const box = element("problem");
  box.textContent = error?.message ?? String(error);
  box.hidden = false;
}

function clear() {
  element("problem").hidden = true;
  element("problem").textContent = "";
}

function announce(text) {
  element("said").textContent = text;
}

/* The link follows the state: a choice is an entry of the history; a drag is one too, made when it begins and rewritten until it
   ends. Browsers refuse more than some ten changes a second, so that a drag writes four. */
function remember(entry, commit) {
  clearTimeout(entry.timer);
  const address = link(entry.view, entry.state);
  if (!commit && entry.dragging) {
    entry.timer = setTimeout(() => { if (current === entry) history.replaceState(null, "", address); }, 250);
  } else if (entry.dragging) {
    history.replaceState(null, "", address);
    entry.dragging = false;
  } else if (address !== location.hash) {
    history.pushState(null, "", address);
    entry.dragging = !commit;
  }
}

function contextOf(entry) {
  return {
    about,
    get state() { return entry.state; },
    set(patch, {commit = false} = {}) {
      if (current !== entry) return;
      entry.state = Object.freeze({...entry.state, ...patch});
      remember(entry, commit);
      update(entry);
    },
    announce,
    fail,
    clear,
    onTheme(callback) { entry.themes.push(callback); },
  };
}

/* Brings the view to its state; where that takes the server's answer, what goes wrong meanwhile is said. */
async function update(entry) {
  try {
    await entry.handle?.update(entry.state);
  } catch (error) {
    if (current === entry) fail(error);
    throw error;
  }
}

/* The view that stands there ends, before the next one has come: what it still wanted is no longer in the link. */
function leave() {
  clearTimeout(current?.timer);
  current?.handle?.unmount();
  current = null;
  delete element("view").dataset.ready;
}

async function route() {
  const mine = ++turn;
  const {id, search} = parse();
  if (current?.view.id === id) {
    clearTimeout(current.timer);
    current.dragging = false;
    current.state = Object.freeze(read(current.view.parameters, search));
    clear();
    return update(current);
  }
  leave();
  let entry = null;
  try {
    const {default: view} = await import(`./views/${id}.js`);
    if (mine !== turn) return;
    clear();
    entry = current = {view, handle: null, state: Object.freeze(read(view.parameters, search)), themes: []};
    element("title").textContent = view.heading;
    element("lead").textContent = view.lead;
    document.title = `${view.title} · scorefield explorer`;
    mark(id);
    const root = element("view");
    root.replaceChildren();
    root.dataset.view = id;
    const handle = await view.mount(root, contextOf(entry));
    if (current !== entry) { handle.unmount(); return; }
    entry.handle = handle;
  } catch (error) {
    if (current === entry) fail(error);
    throw error;
  }
  await update(entry);
  if (current === entry) element("view").dataset.ready = "yes";
}

/* Where one is, in the menu. */
function mark(id) {
  const list = element("views");
  for (const each of list.querySelectorAll("a")) {
    if (each.dataset.view === id) {
      each.setAttribute("aria-current", "page");
      // On a narrow screen the menu scrolls: bring the word there.
      list.scrollLeft = each.offsetLeft - list.offsetLeft - (list.clientWidth - each.offsetWidth) / 2;
    }
    else each.removeAttribute("aria-current");
  }
}

const dark = matchMedia("(prefers-color-scheme: dark)");

function paint() {
  const wanted = stored("scorefield.theme");
  const theme = wanted ?? (dark.matches ? "dark" : "light");
  document.documentElement.dataset.theme = theme;
  const button = element("theme");
  button.setAttribute("aria-pressed", String(theme === "dark"));
  for (const callback of current?.themes ?? []) callback(theme);
}

function start() {
  const list = element("views");
  for (const [id, title] of VIEWS) {
    const item = document.createElement("li");
    const anchor = document.createElement("a");
    anchor.href = `#/${id}`;
    anchor.textContent = title;
    anchor.dataset.view = id;
    item.append(anchor);
    list.append(item);
  }
  element("theme").addEventListener("click", () => {
    store("scorefield.theme", document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    paint();
  });
  element("skip").addEventListener("click", (event) => { event.preventDefault(); element("main").focus(); });
  dark.addEventListener("change", paint);
  paint();
  window.addEventListener("popstate", route);
  get("/api/about").then((found) => {
    about = found;
    element("about").textContent =
      `scorefield ${about.version}${about.run ? ` · run ${about.run}` : ""} · all of it runs on this machine; nothing is loaded from elsewhere and nothing is sent.`;
    return route();
  }).catch(fail);
}

start();
