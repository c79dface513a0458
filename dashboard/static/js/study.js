// The reading room: window and level, zoom, heat map, and the keys that readers know.
const by = (id) => document.getElementById(id);
const stage = by("stage");
const sheet = by("sheet");
const picture = by("picture");
const heat = by("heat");

const START = { zoom: 1, x: 0, y: 0, width: 1, level: 0, invert: false };
const view = { ...START };

function draw() {
  if (!picture) return;
  sheet.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.zoom})`;
  // out = (in - middle) / width + 1/2, the linear window of DICOM PS3.3 C.11.2.1.2, written as two CSS filters.
  const contrast = 1 / view.width;
  const middle = 0.5 + view.level;
  const brightness = 0.5 / middle;
  const filters = [];
  if (brightness !== 1) filters.push(`brightness(${brightness})`);
  if (contrast !== 1) filters.push(`contrast(${contrast})`);
  if (view.invert) filters.push("invert(1)");
  picture.style.filter = filters.join(" ");
  by("tool-invert").setAttribute("aria-pressed", String(view.invert));
  const percent = (value) => Math.round(value * 100);
  by("tool-window").textContent =
    view.width === 1 && view.level === 0 && view.zoom === 1
      ? ""
      : `W ${percent(view.width)} L ${percent(middle)} · ${percent(view.zoom)} %`;
}

function zoom(factor, event) {
  const box = stage.getBoundingClientRect();
  const x = event ? event.clientX - box.left - box.width / 2 : 0;
  const y = event ? event.clientY - box.top - box.height / 2 : 0;
  const next = Math.min(16, Math.max(0.5, view.zoom * factor));
  // The point under the pointer stays where it is.
  view.x = x - ((x - view.x) * next) / view.zoom;
  view.y = y - ((y - view.y) * next) / view.zoom;
  view.zoom = next;
  draw();
}

function reset() {
  Object.assign(view, START);
  draw();
}

function invert() {
  view.invert = !view.invert;
  draw();
}

function toggleHeat() {
  if (!heat) return;
  if (!heat.src) heat.src = heat.dataset.src;
  heat.hidden = !heat.hidden;
  by("tool-heat").setAttribute("aria-pressed", String(!heat.hidden));
}

function setOpacity() {
  if (heat) heat.style.opacity = String(by("opacity").value / 100);
}

function drags() {
  let held = null;
  stage.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "touch" && !event.isPrimary) return;
    held = { x: event.clientX, y: event.clientY, button: event.button };
    stage.setPointerCapture(event.pointerId);
    if (event.button === 1) event.preventDefault();
  });
  stage.addEventListener("pointermove", (event) => {
    if (!held) return;
    const across = event.clientX - held.x;
    const down = event.clientY - held.y;
    held.x = event.clientX;
    held.y = event.clientY;
    if (held.button === 0 && event.pointerType !== "touch") {
      view.width = Math.min(4, Math.max(0.05, view.width * Math.exp(across / 300)));
      view.level = Math.min(0.45, Math.max(-0.45, view.level + down / 800));
    } else {
      view.x += across;
      view.y += down;
    }
    draw();
  });
  for (const kind of ["pointerup", "pointercancel"]) stage.addEventListener(kind, () => (held = null));
  stage.addEventListener("contextmenu", (event) => event.preventDefault());
  stage.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      zoom(Math.exp(-event.deltaY / 500), event);
    },
    { passive: false },
  );
}

function verdict(name) {
  const button = by(`verdict-${name}`);
  if (!button || button.disabled) return;
  button.form.requestSubmit(button);
}

const KEYS = {
  j: () => by("case-after")?.click(),
  k: () => by("case-before")?.click(),
  y: () => verdict("confirmed"),
  n: () => verdict("dismissed"),
  u: () => verdict("unsure"),
  c: () => by("comment")?.focus(),
  o: toggleHeat,
  i: invert,
  "+": () => zoom(1.25),
  "=": () => zoom(1.25),
  "-": () => zoom(0.8),
  " ": reset,
  "?": () => by("help").showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || by("help").open) return;
  const target = event.target;
  if (target.matches("input[type=text], textarea, select")) {
    if (event.key === "Escape") target.blur();
    return;
  }
  // Space and Enter belong to a button or link that has the focus.
  if (event.key === " " && target.matches("button, a, input, summary")) return;
  const act = KEYS[event.key.toLowerCase()];
  if (!act) return;
  event.preventDefault();
  act();
});

// A second verdict must not follow from a key that is pressed twice.
by("verdict")?.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "yes";
});
window.addEventListener("pageshow", () => {
  if (by("verdict")) delete by("verdict").dataset.sent;
});

function failed() {
  const line = by("picture-error");
  if (!line) return;
  line.hidden = false;
  line.textContent = "The picture could not be loaded.";
  fetch(picture.src, { headers: { Accept: "application/json" } })
    .then((answer) => answer.json())
    .then((told) => (line.textContent = told.error))
    .catch(() => {});
}

if (picture) {
  drags();
  draw();
  setOpacity();
  by("tool-heat").addEventListener("click", toggleHeat);
  by("opacity").addEventListener("input", setOpacity);
  by("tool-invert").addEventListener("click", invert);
  by("tool-in").addEventListener("click", () => zoom(1.25));
  by("tool-out").addEventListener("click", () => zoom(0.8));
  by("tool-reset").addEventListener("click", reset);
  by("tool-help").addEventListener("click", KEYS["?"]);
  // The pointer may rest on a tool while the hands are on the keys: space resets, it does not press the tool again.
  by("tools").addEventListener("click", (event) => event.target.closest("button")?.blur());
  picture.addEventListener("error", failed);
  if (picture.complete && picture.naturalWidth === 0) failed();
  // The next case is fetched while this one is read.
  if (stage.dataset.nextPicture) {
    const ahead = () => (new Image().src = stage.dataset.nextPicture);
    if (picture.complete) ahead();
    else picture.addEventListener("load", ahead, { once: true });
  }
}
