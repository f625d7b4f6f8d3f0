/* Formulas in plain Unicode, with subscripts: x_t and Σ_{i≠j}. `formula("x_t")` gives the nodes to put into an element. */

import {node} from "./controls.js";

export function formula(text) {
  return text.split(/(_\{[^}]*\}|_[\p{L}\d])/u).map((part) => (part.startsWith("_") && part.length > 1 ? node("sub", {text: part.replace(/[_{}]/g, "")}) : part));
}
