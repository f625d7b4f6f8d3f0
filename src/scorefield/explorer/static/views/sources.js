/* Sources: what every view and exercise draws, as a formula, and the place where it is written down. */

import {get} from "../lib/api.js";
import {node} from "../lib/controls.js";
import {formula} from "../lib/formula.js";

const NAMES = {field: "Field", point: "One noisy point", walk: "Walk", train: "Train", images: "Images"};

const cited = ({text, paper}) => (paper.address ? node("a", {href: paper.address, rel: "noreferrer", title: paper.title, text}) : node("span", {title: paper.title, text}));

function facts(caption, rows) {
  return node("table", {className: "facts"}, node("caption", {text: caption}),
    node("thead", {}, node("tr", {}, ...["What", "Formula", "Where"].map((text) => node("th", {scope: "col", text})))),
    node("tbody", {}, ...rows));
}

export default {
  id: "sources",
  title: "Sources",
  heading: "Code and sources",
  lead: "Every picture is a formula, every formula a few lines of the library, and every one of them is written down somewhere.",
  parameters: {},

  async mount(root) {
    const {facts: all, exercises, papers} = await get("/api/sources");
    const page = node("div", {className: "page"});
    page.append(node("p", {text: "The lines of Python are under “Show me the code” in every view and exercise: they run, and print the numbers that the page shows."}));
    for (const [view, name] of Object.entries(NAMES)) {
      const rows = all.filter((each) => each.view === view).map((each) => node("tr", {},
        node("th", {scope: "row", text: each.what}), node("td", {className: "formula"}, ...formula(each.formula)), node("td", {}, cited(each.source))));
      page.append(node("section", {}, node("h2", {}, node("a", {href: `#/${view}`, text: name})), facts(`What ${name} draws`, rows)));
    }
    page.append(node("section", {}, node("h2", {}, node("a", {href: "#/exercises", text: "Predict, then look"})), facts("What the exercises show", exercises.map((each) => node("tr", {},
      node("th", {scope: "row"}, node("a", {href: `#/exercises?exercise=${each.key}`, text: each.title})),
      node("td", {className: "formula"}, ...formula(each.formula)), node("td", {}, cited(each.source)))))));
    page.append(node("section", {}, node("h2", {text: "Papers"}), node("ol", {className: "papers"}, ...papers.map((each) => {
      const place = `${each.authors} (${each.year}). `, title = `${each.title}. `;
      return node("li", {}, place, each.address ? node("a", {href: each.address, rel: "noreferrer", text: title}) : title, each.venue);
    }))));
    root.replaceChildren(page);
    return {update() {}, unmount() {}};
  },
};
