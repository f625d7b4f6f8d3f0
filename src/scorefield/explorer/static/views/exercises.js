/* Predict, then look: a question, an answer that is committed, and what the library computes. Marks are kept in this browser. */

import {get, later, post} from "../lib/api.js";
import {button, node, slider} from "../lib/controls.js";
import {showCode} from "../lib/code.js";
import {formula} from "../lib/formula.js";
import {gallery} from "../lib/pictures.js";
import {text} from "../lib/state.js";

const PLACE = "scorefield.exercises";

/* What was answered, in this browser; where that is forbidden, until the page is left. */
let marks = {};
function remember(next) {
  marks = next;
  try { localStorage.setItem(PLACE, JSON.stringify(marks)); } catch { /* forbidden, or full */ }
}
function recall() {
  try { marks = JSON.parse(localStorage.getItem(PLACE) ?? "null") ?? marks; } catch { /* forbidden, or not ours */ }
  if (typeof marks !== "object" || Array.isArray(marks)) marks = {};
}

export default {
  id: "exercises",
  title: "Predict, then look",
  heading: "Predict, then look",
  lead: "Commit yourself to an answer first. What you then see is computed on the spot; nothing about it is written down.",
  parameters: {exercise: text("gaussian", {most: 40}), answer: text("", {most: 20}), at: text("", {most: 20})},

  async mount(root, context) {
    recall();
    const all = await get("/api/exercises");
    const contents = node("nav", {className: "lessons", "aria-label": "Exercises"});
    const card = node("article", {className: "lesson"});
    root.replaceChildren(node("div", {className: "course"}, contents, card));
    let shown = null;      // {key, answer, gallery, …} of what stands on the card
    let over = null, next = null, busy = false, cancel = () => {};

    const find = (key) => all.find((each) => each.key === key) ?? all[0];
    const go = (key) => context.set({exercise: key, answer: marks[key]?.answer ?? "", at: ""}, {commit: true});

    function table() {
      const chapters = [...new Set(all.map((each) => each.chapter))], done = all.filter(({key}) => marks[key]).length;
      const right = all.filter(({key}) => marks[key]?.agrees).length;
      const bar = node("progress", {max: all.length, value: done, "aria-label": "Exercises answered"});
      const again = button("Forget my answers", () => {
        remember({});
        context.announce("Your answers are forgotten.");
        context.set({answer: "", at: ""}, {commit: true});
        table();
      }, {kind: "quiet"});
      again.enable(done > 0);
      contents.replaceChildren(
        node("div", {className: "tally"}, node("p", {text: done ? `${done} of ${all.length} answered, ${right} right` : `${all.length} exercises`}), bar),
        ...chapters.flatMap((chapter) => [
          node("h2", {text: chapter}),
          node("ol", {}, ...all.filter((each) => each.chapter === chapter).map((each) => {
            const mark = marks[each.key], current = each.key === shown?.key;
            const words = mark ? (mark.agrees ? "right" : "not right") : "not answered yet";
            const link = node("a", {href: `#/exercises?exercise=${each.key}`, "aria-current": current ? "page" : null},
              node("span", {className: `mark ${mark ? (mark.agrees ? "right" : "wrong") : ""}`, "aria-hidden": "true", text: mark ? (mark.agrees ? "✓" : "·") : ""}),
              node("span", {text: each.title}), node("span", {className: "unseen", text: `, ${words}`}));
            link.addEventListener("click", (event) => { event.preventDefault(); go(each.key); card.querySelector("h2")?.focus(); });
            return node("li", {}, link);
          })),
        ]),
        again.element,
      );
      // The list scrolls by itself to the exercise on the card; the page stays.
      const box = contents.getBoundingClientRect(), here = contents.querySelector("[aria-current]")?.getBoundingClientRect();
      if (here) contents.scrollTop += here.top - box.top - 0.4 * box.height;
    }

    function ask(exercise, state) {
      shown?.gallery?.stop();
      over?.abort();
      const answered = state.answer !== "";
      const inputs = node("div", {className: "answers"});
      const commit = button("Commit", () => answer(given), {kind: "strong"});
      let given = answered ? Number(state.answer) : null;
      commit.enable(false);
      if (exercise.answer.kind === "choices") {
        const group = node("fieldset", {className: "options"}, node("legend", {className: "unseen", text: exercise.question}));
        exercise.answer.texts.forEach((words, k) => {
          const input = node("input", {type: "radio", name: "answer", value: k, id: `answer-${k}`, disabled: answered});
          input.checked = given === k;
          input.addEventListener("change", () => { given = k; commit.enable(true); });
          group.append(node("div", {className: "option"}, input, node("label", {for: input.id, text: words})));
        });
        inputs.append(group);
      } else {
        const {low, high, step, unit} = exercise.answer;
        const guess = slider("Your estimate", {min: low, max: high, value: given ?? low, step, unit}, (value) => { given = value; commit.enable(true); });
        guess.enable(!answered);
        inputs.append(guess.element);
      }
      const heading = node("h2", {text: exercise.title, tabindex: "-1"});
      const reveal = node("section", {className: "reveal", "aria-label": "What is seen", hidden: true});
      card.replaceChildren(node("p", {className: "chapter", text: exercise.chapter}), heading,
        node("p", {className: "question", text: exercise.question}), inputs,
        node("div", {className: "row", hidden: answered}, commit.element, node("p", {className: "note", text: "Then you will see."})), reveal);
      shown = {key: exercise.key, answer: state.answer, reveal, gallery: null, inputs};
      table();
    }

    function answer(given) {
      context.set({answer: String(Number(given.toPrecision(6))), at: ""}, {commit: true});
    }

    /* The reveal for the state's answer, with the dial where the state says. While one is computed the next waits, and only the
       last of them is asked for, so that a dial that is dragged does not leave a queue behind. */
    async function look(exercise, state) {
      next = {exercise, state, mine: shown};
      if (busy) return;
      busy = true;
      while (next) {
        const now = next;
        next = null;
        if (now.mine === shown) await reveal(now);
      }
      busy = false;
    }

    async function reveal({exercise, state, mine}) {
      over = new AbortController();
      mine.reveal.hidden = false;
      mine.reveal.setAttribute("aria-busy", "true");
      try {
        const body = {answer: Number(state.answer), ...(state.at !== "" && {value: Number(state.at)})};
        const found = await post(`/api/exercises/${exercise.key}`, body, {signal: over.signal});
        if (shown !== mine) return;
        context.clear();
        if (!mine.gallery) build(exercise, found, mine);
        paint(found, mine);
        mine.reveal.dataset.ready = "yes";
        if (marks[exercise.key]?.answer !== state.answer) {
          remember({...marks, [exercise.key]: {answer: state.answer, agrees: found.agrees}});
          table();
          context.announce(`${found.agrees ? "Right." : "Not quite."} ${found.why}`);
        }
      } catch (error) {
        if (error.name !== "AbortError" && shown === mine) {
          context.fail(error);
          mine.reveal.hidden = mine.gallery === null;
        }
      } finally {
        mine.reveal.removeAttribute("aria-busy");
      }
    }

    function build(exercise, found, mine) {
      const {reveal} = mine, estimate = exercise.answer.kind === "estimate";
      const precise = estimate ? ` It is ${Number(found.right.toPrecision(3))} ${exercise.answer.unit}.` : "";
      const verdict = node("p", {className: `verdict ${found.agrees ? "right" : "wrong"}`}, node("strong", {text: found.agrees ? "Right." : "Not quite."}), precise);
      if (!estimate) mine.inputs.querySelectorAll(".option")[found.right]?.classList.add("right");
      reveal.replaceChildren(verdict);
      mine.gallery = gallery(reveal);
      const {name, low, high, step} = exercise.dial;
      const place = context.state.at === "" ? exercise.dial.value : Number(context.state.at);
      const log = low > 0 && high / low > 200;
      const dial = slider(`Turn it: ${name}`, {min: low, max: high, value: place, ...(log ? {log} : {step}), format: (v) => String(Number(v.toPrecision(3)))},
        (value, how) => context.set({at: String(Number(value.toPrecision(4)))}, how));
      mine.dial = dial;
      mine.numbers = node("tbody");
      const following = all[all.findIndex(({key}) => key === exercise.key) + 1];
      const onward = node("div", {className: "row"});
      if (following) onward.append(button(`Next: ${following.title}`, () => { go(following.key); card.querySelector("h2").focus(); scrollTo(0, 0); }, {kind: "strong"}).element);
      onward.append(button("Answer again", () => context.set({answer: "", at: ""}, {commit: true})).element);
      if (found.link) onward.append(node("a", {className: "onward", href: found.link, text: "Go on in the live view"}));
      const {paper, text: cited} = found.source;
      reveal.append(
        node("div", {className: "dial"}, dial.element),
        node("table", {className: "numbers"}, node("caption", {text: "Computed now"}), mine.numbers),
        node("div", {className: "why"}, node("p", {text: found.why}), node("p", {className: "formula"}, ...formula(found.formula)),
          node("p", {className: "note"}, paper.address ? node("a", {href: paper.address, rel: "noreferrer", text: cited}) : cited, `: ${paper.title}.`)),
      );
      showCode(reveal, `/api/exercises/${exercise.key}/code`, {failed: context.fail}).ask({});
      reveal.append(onward);
    }

    function paint(found, mine) {
      mine.gallery.show(found.pictures);
      mine.numbers.replaceChildren(...found.numbers.map(({name, value, unit, error}) => node("tr", {},
        node("th", {scope: "row", text: name}),
        node("td", {text: `${error ? within(value, error) : written(value)}${unit && ` ${unit}`}`}))));
    }

    context.onTheme(() => shown?.gallery?.refresh());
    return {
      update(state) {
        const exercise = find(state.exercise);
        if (shown?.key !== exercise.key || shown.answer !== state.answer) ask(exercise, state);
        cancel();
        if (state.answer === "" || !Number.isFinite(Number(state.answer))) return;
        shown.dial?.set(state.at === "" ? exercise.dial.value : Number(state.at));
        cancel = later(() => look(exercise, state), shown.gallery ? 60 : 0);
      },
      unmount() { cancel(); next = null; over?.abort(); shown?.gallery?.stop(); },
    };
  },
};

const written = (value) => (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6) ? value.toExponential(1) : String(Number(value.toPrecision(4))));

/* A number to the digits that its standard error allows. */
function within(value, error) {
  const digits = -Math.floor(Math.log10(error));
  return digits > 8 ? `${value.toExponential(1)} ± ${error.toExponential(0)}` : `${value.toFixed(Math.max(0, digits))} ± ${error.toFixed(Math.max(0, digits))}`;
}
