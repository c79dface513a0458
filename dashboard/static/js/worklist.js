// The list under the hands: J and K move, Enter opens (it is a link that has the focus), X ticks, / searches, Ctrl Z undoes.
import { isUndo, keyOf } from "./keys.js";
import { gettext } from "./words.js";

const by = (id) => document.getElementById(id);
const cases = [...document.querySelectorAll("#worklist a.case")];
const ticks = [...document.querySelectorAll('#worklist input[name="study"]')];
const filters = by("filters");

const here = () => cases.findIndex((link) => link.closest("tr").contains(document.activeElement));

function move(step) {
  if (!cases.length) return;
  const at = here();
  const next = at < 0 ? (step > 0 ? 0 : cases.length - 1) : Math.min(cases.length - 1, Math.max(0, at + step));
  cases[next].focus({ preventScroll: true });
  cases[next].closest("tr").scrollIntoView({ block: "nearest" });
}

// What can be done to ticked lines is in reach while there are any.
function tell() {
  if (!by("bulk")) return;
  const count = ticks.filter((tick) => tick.checked).length;
  by("ticked").textContent = count ? gettext("%(count)s ticked", { count }) : "";
  by("bulk").classList.toggle("some", count > 0);
  by("tick-all").checked = count > 0 && count === ticks.length;
  by("tick-all").indeterminate = count > 0 && count < ticks.length;
}

const KEYS = {
  j: () => move(1),
  k: () => move(-1),
  x: () => ticks[here()]?.click(),
  "/": () => by("q")?.select(),
};

document.addEventListener("keydown", (event) => {
  if (isUndo(event)) {
    event.preventDefault();
    by("undo")?.form.requestSubmit();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input:not([type=checkbox]), textarea, select")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const act = KEYS[keyOf(event)];
  if (!act) return;
  event.preventDefault();
  act();
});

// What opened over the list closes like a dialog.
const saved = by("saved");
document.addEventListener("click", (event) => {
  if (saved?.open && !saved.contains(event.target)) saved.open = false;
});
saved?.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !saved.open) return;
  saved.open = false;
  saved.querySelector("summary").focus();
});

by("worklist")?.addEventListener("change", (event) => {
  if (event.target.id === "tick-all") for (const tick of ticks) tick.checked = event.target.checked;
  tell();
});

// What is not asked for stays out of the address, so that a bookmark says what it means.
filters?.addEventListener("submit", () => {
  for (const field of filters.elements) if (field.name && !field.value.trim()) field.disabled = true;
});
window.addEventListener("pageshow", () => {
  for (const field of filters?.elements ?? []) field.disabled = false;
  tell();
});
