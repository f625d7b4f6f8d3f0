/* A table of the reader's own: chosen as a file, kept in this browser, and sent again to a server that does not know it yet. */

import {post} from "../../lib/api.js";
import {file, node, select} from "../../lib/controls.js";

/* {element, update(state), resend(state)}; `sent()` is called when a table was sent again. */
export function tables(context, sent) {
  const set = (patch) => context.set(patch, {commit: true});
  let resent = "";
  const upload = file("A CSV of two columns or more", ".csv,.tsv,.txt,text/csv", async (content, name) => {
    try {
      const found = await post("/api/tables", {text: content, name});
      context.clear();
      remember(found, content, name);
      columns(found.columns);
      set({density: "table", table: found.id, columns: found.columns.slice(0, 2).join(",")});
      context.announce(`${name}: ${found.rows} rows, ${found.columns.length} columns of numbers.`);
    } catch (error) { context.fail(error); }
  }, {hint: "It is read on this machine and kept nowhere else. Columns are scaled to mean 0 and standard deviation 1."});
  const first = select("Across", [], "", (value) => set({columns: `${value},${context.state.columns.split(",")[1]}`}));
  const second = select("Up", [], "", (value) => set({columns: `${context.state.columns.split(",")[0]},${value}`}));
  const columns = (names) => { first.fill(names); second.fill(names); };

  return {
    element: node("div", {className: "group-part"}, upload.element, first.element, second.element),
    update(state) { first.element.hidden = second.element.hidden = !state.table; },
    async resend(state) {
      const kept = recall(state.table);
      if (!kept || resent === state.table) {
        context.fail(new Error("This link shows a table that is not on this computer: choose the CSV file again."));
        return;
      }
      resent = state.table;
      try {
        columns((await post("/api/tables", kept)).columns);
        if (context.state.table !== state.table) return;
        first.set(state.columns.split(",")[0]);
        second.set(state.columns.split(",")[1]);
        sent();
      } catch (error) { context.fail(error); }
    },
  };
}

/* Tables are kept in this browser, so that a link to one works after the server was started anew. */
function remember(found, content, name) {
  try { localStorage.setItem(`scorefield.table.${found.id}`, JSON.stringify({text: content, name})); } catch { /* too large: the file is asked for again */ }
}

function recall(id) {
  try { return JSON.parse(localStorage.getItem(`scorefield.table.${id}`)); } catch { return null; }
}
