// The reading room: its tools and keys, the images of a study that change places, the other study beside it, verdicts.
import { keepDraft } from "./drafts.js";
import { isUndo, keyOf } from "./keys.js";
import { preload } from "./viewer_pixels.js";
import { Pane, START } from "./viewer.js";
import { isOneToOne, moveBy, takeHands, zoomBy, zoomTo } from "./viewer_hands.js";
import { gettext } from "./words.js";

const by = (id) => document.getElementById(id);
const panes = new Map();
let active = null;

const shared = {
  view: { ...START },
  heat: false,
  opacity: 0.6,
  redraw: () => panes.forEach((pane) => pane.draw()),
};

function choose(pane) {
  active = pane;
  for (const other of panes.values()) other.root.classList.toggle("active", panes.size > 1 && other === pane);
  tell();
}

// What the buttons say of the pane in use.
function tell() {
  if (!active || !by("tools")) return;
  const press = (id, on) => by(id).setAttribute("aria-pressed", String(Boolean(on)));
  press("tool-heat", shared.heat);
  press("tool-invert", active.tone.invert);
  press("tool-across", active.turn.across);
  press("tool-down", active.turn.down);
  press("tool-pixels", isOneToOne(active));
  const { window, presets } = active.painter?.pixels ?? {};
  const { table, centre, width } = active.tone;
  const same = (pair) => pair && pair[0] === centre && pair[1] === width;
  const number = table ? 1 : 2 + (presets ?? []).findIndex(same);
  by("preset").value = number > 1 || table ? String(number) : same(window) ? "1" : "";
  const heat = [...panes.values()].some((pane) => pane.heat);
  by("tool-heat").disabled = by("opacity").disabled = !heat;
  by("tool-heat").title = heat ? gettext("Heat map (O)") : gettext("There is no heat map of this image");
}

function toggleHeat() {
  if (by("tool-heat").disabled) return;
  shared.heat = !shared.heat;
  shared.redraw();
  tell();
}

function reset() {
  Object.assign(shared.view, START);
  panes.forEach((pane) => pane.reset());
  shared.redraw();
}

function onPixels() {
  if (active?.ready) zoomTo(active, isOneToOne(active) ? 1 : active.oneToOne);
}

// The page of another address, its parts laid into this one: the comment that is being written stays, nothing jumps.
const PARTS = ["why", "alike", "image-facts", "strip", "others"];
let latest = 0;

async function goInPlace(href) {
  const turn = (latest += 1);
  let page;
  try {
    const answer = await fetch(href);
    if (!answer.ok || answer.redirected) throw new Error();
    page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!page.getElementById("panes")) throw new Error();
  } catch {
    location.assign(href);
    return;
  }
  if (turn !== latest) return;
  const held = document.activeElement?.id;
  const staged = document.activeElement?.matches(".stage");
  for (const id of PARTS) {
    const fresh = page.getElementById(id);
    if (fresh && by(id)) by(id).replaceWith(fresh);
  }
  const model = page.querySelector('#verdict input[name="model"]');
  if (model && by("verdict")) by("verdict").elements.model.value = model.value;
  arrange([...page.querySelectorAll("#panes > .pane")]);
  history.replaceState(null, "", href);
  const back = held ? by(held) : staged && active?.stage;
  if (back) back.focus({ preventScroll: true });
}

// A pane whose picture is the same stays as it is, window and all.
function arrange(fresh) {
  const wanted = new Map(fresh.map((root) => [root.id, root]));
  for (const [id, pane] of panes) {
    if (wanted.get(id)?.dataset.image === pane.root.dataset.image) continue;
    pane.close();
    pane.root.remove();
    panes.delete(id);
  }
  const focused = active?.root.id;
  for (const [id, root] of wanted) {
    if (!panes.has(id)) (id === "pane-case" ? by("panes").prepend(root) : by("panes").append(root), open(root));
  }
  choose(panes.get(focused) ?? panes.get("pane-case"));
}

function open(root) {
  const pane = new Pane(root, shared, tell);
  panes.set(root.id, pane);
  takeHands(pane, choose);
  return pane.load();
}

function step(by_) {
  const links = [...document.querySelectorAll("#strip a")];
  const at = links.findIndex((link) => link.getAttribute("aria-current"));
  links[at + by_]?.click();
}

function verdict(name) {
  const button = by(`verdict-${name}`);
  if (!button || button.disabled) return;
  button.form.requestSubmit(button);
}

// How long the case was in sight: the page of another tab or a sleeping screen is not being read.
let looked = 0;
let since = document.hidden ? null : performance.now();

document.addEventListener("visibilitychange", () => {
  if (since !== null) looked += performance.now() - since;
  since = document.hidden ? null : performance.now();
});

const seconds = () => (looked + (since === null ? 0 : performance.now() - since)) / 1000;

const KEYS = {
  j: () => by("case-after")?.click(),
  k: () => by("case-before")?.click(),
  y: () => verdict("confirmed"),
  n: () => verdict("dismissed"),
  u: () => verdict("unsure"),
  c: () => by("comment")?.focus(),
  o: toggleHeat,
  i: () => active.invert(),
  h: () => active.flip("across"),
  v: () => active.flip("down"),
  r: () => active.rotate(1),
  l: () => active.rotate(-1),
  z: (event) => zoomBy(active, event.shiftKey ? 0.8 : 1.25),
  "+": () => zoomBy(active, 1.25),
  "=": () => zoomBy(active, 1.25),
  "-": () => zoomBy(active, 0.8),
  p: onPixels,
  " ": reset,
  "[": () => step(-1),
  "]": () => step(1),
  "?": () => by("help").showModal(),
};
for (const number of [1, 2, 3, 4, 5]) KEYS[number] = () => active.preset(number);
// The keys that need no picture.
const ALWAYS = new Set("jkyunc?");
for (const box of document.querySelectorAll("#findings input")) {
  KEYS[box.dataset.key] = () => box.click();
  ALWAYS.add(box.dataset.key);
}

// On a stage that has the focus: arrows move the picture, with Shift they change its window.
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function arrow(event) {
  const way = ARROWS[event.key];
  if (!way || !event.target.closest(".stage")) return false;
  event.preventDefault();
  if (event.shiftKey) active.adjust(way[0] * 8, way[1] * 8);
  else moveBy(active, -way[0] * 40, -way[1] * 40);
  return true;
}

document.addEventListener("keydown", (event) => {
  if (by("help").open) return;
  const target = event.target;
  if (isUndo(event)) {
    event.preventDefault();
    by("undo")?.form.requestSubmit();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (target.matches("input[type=text], textarea, select")) {
    if (event.key === "Escape") target.blur();
    return;
  }
  if (active && arrow(event)) return;
  // Space and Enter belong to a button or link that has the focus.
  if (event.key === " " && target.matches("button, a, input, summary")) return;
  const key = keyOf(event);
  const act = KEYS[key];
  if (!act || (event.repeat && !"z+=-".includes(key))) return;
  if (!active && !ALWAYS.has(key)) return;
  event.preventDefault();
  act(event);
});

by("verdict")?.addEventListener("submit", () => {
  by("verdict").elements.seconds.value = seconds().toFixed(1);
});
if (by("verdict")) keepDraft(by("verdict"), by("comment"), [...document.querySelectorAll("#findings input")], by("begun"));

// Links that change what stands on the stages; with another button or key they open a page as any link.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-in-place]");
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  goInPlace(link.href);
});

async function begin() {
  const act = (id, does) => by(id).addEventListener("click", does);
  act("tool-heat", toggleHeat);
  act("tool-invert", KEYS.i);
  act("tool-across", KEYS.h);
  act("tool-down", KEYS.v);
  act("tool-left", KEYS.l);
  act("tool-right", KEYS.r);
  act("tool-in", KEYS["+"]);
  act("tool-out", KEYS["-"]);
  act("tool-pixels", onPixels);
  act("tool-reset", reset);
  act("tool-help", KEYS["?"]);
  by("preset").addEventListener("change", (event) => {
    active.preset(Number(event.target.value));
    event.target.blur();
  });
  by("opacity").addEventListener("input", (event) => {
    shared.opacity = event.target.value / 100;
    shared.redraw();
  });
  // The pointer may rest on a tool while the hands are on the keys: space resets, it does not press the tool again.
  by("tools").addEventListener("click", (event) => event.detail && event.target.closest("button")?.blur());
  // A browser may bring a slider back as it was left.
  shared.opacity = by("opacity").value / 100;
  const first = [...document.querySelectorAll("#panes > .pane")].map(open);
  choose(panes.get("pane-case"));
  await Promise.all(first);
  // The next case is fetched while this one is read.
  const { nextPixels } = by("panes").dataset;
  if (nextPixels && typeof WebGL2RenderingContext !== "undefined") preload(nextPixels);
}

if (by("panes")) begin();
