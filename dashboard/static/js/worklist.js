// The list under the hands: J and K move from case to case, Enter opens (it is a link that has the focus), / searches.
const cases = [...document.querySelectorAll("#worklist a.case")];
const filters = document.getElementById("filters");

function move(step) {
  if (!cases.length) return;
  const here = cases.findIndex((link) => link.closest("tr").contains(document.activeElement));
  const next = here < 0 ? (step > 0 ? 0 : cases.length - 1) : Math.min(cases.length - 1, Math.max(0, here + step));
  cases[next].focus({ preventScroll: true });
  cases[next].closest("tr").scrollIntoView({ block: "nearest" });
}

const KEYS = {
  j: () => move(1),
  k: () => move(-1),
  "/": () => document.getElementById("q")?.select(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, textarea, select")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const act = KEYS[event.key.toLowerCase()];
  if (!act) return;
  event.preventDefault();
  act();
});

// What is not asked for stays out of the address, so that a bookmark says what it means.
filters?.addEventListener("submit", () => {
  for (const field of filters.elements) if (field.name && !field.value.trim()) field.disabled = true;
});
window.addEventListener("pageshow", () => {
  for (const field of filters?.elements ?? []) field.disabled = false;
});
