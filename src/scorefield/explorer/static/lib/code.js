/* Show me the code: the lines of Python that the server writes for a view's state, its formula, and where it is written down.

     const code = showCode(below, "/api/field/code");
     code.ask(body);          // the body of the view's own request; asked only while the panel is open */

import {later, post} from "./api.js";
import {node} from "./controls.js";
import {formula as typeset} from "./formula.js";

export function showCode(parent, address, {failed = () => {}} = {}) {
  const formula = node("p", {className: "formula"});
  const code = node("code");
  const block = node("pre", {tabindex: "0", role: "region", "aria-label": "Python code"}, code);
  const copy = node("button", {type: "button", className: "quiet copy", text: "Copy"});
  const sources = node("ul", {className: "sources"});
  const details = node("details", {className: "code"}, node("summary", {text: "Show me the code"}),
    node("div", {className: "inside"}, formula, node("div", {className: "listing"}, block, copy), sources));
  parent.append(details);
  let body = null, wanted = "", shown = "", cancel = () => {};

  async function refresh() {
    const asked = wanted;
    if (!details.open || body === null || asked === shown) return;
    try {
      const found = await post(address, body);
      if (asked !== wanted) return;   // these are the lines of another state by now
      formula.replaceChildren(...typeset(found.formula));
      code.replaceChildren(...coloured(found.code));
      sources.replaceChildren(...found.sources.map((each) => {
        const words = `${each.text}: ${each.paper.title}.`;
        return node("li", {}, each.paper.address ? node("a", {href: each.paper.address, rel: "noreferrer", text: words}) : words);
      }));
      shown = asked;
      told();
    } catch (error) {
      if (asked === wanted) failed(error);
    }
  }

  /* On the element: whether these are the lines of what is seen. */
  function told() {
    if (shown && shown === wanted) details.dataset.ready = "yes";
    else delete details.dataset.ready;
  }

  details.addEventListener("toggle", refresh);
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      copy.textContent = "Copied";
    } catch {   // a browser that does not let pages write there: the text is marked instead
      getSelection().selectAllChildren(code);
      copy.textContent = "Press Ctrl-C";
    }
    setTimeout(() => { copy.textContent = "Copy"; }, 1500);
  });
  return {
    ask(next) {
      const text = JSON.stringify(next);
      if (text === wanted) return;
      [body, wanted] = [next, text];
      told();
      cancel();
      cancel = later(refresh, 200);
    },
    element: details,
    stop() { wanted = ""; cancel(); },
  };
}

const WORDS = /("(?:[^"\\]|\\.)*"|#.*)|\b(import|from|as|for|in|def|return|with|lambda|print)\b|\b(\d+(?:\.\d*)?(?:e-?\d+)?)\b/g;

function* coloured(text) {
  let last = 0;
  for (const found of text.matchAll(WORDS)) {
    yield text.slice(last, found.index);
    yield node("span", {className: found[1] ? (found[1][0] === "#" ? "remark" : "string") : found[2] ? "word" : "figure", text: found[0]});
    last = found.index + found[0].length;
  }
  yield text.slice(last);
}
