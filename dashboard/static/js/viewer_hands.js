// What the pointer does on a stage: left drag windows, middle or right drag moves, the wheel zooms, two clicks show
// pixels one to one; one finger moves, two zoom.
import { LEAST, MOST, viewWith } from "./viewer_geometry.js";

// Zoom by a factor and keep the point under `at`; without it, that in the middle.
export function zoomBy(pane, factor, at) {
  if (!pane.ready) return;
  const { width, height } = pane.box;
  const here = at ?? { x: width / 2, y: height / 2 };
  const most = Math.max(MOST, 8 * pane.oneToOne);
  const least = Math.min(LEAST, pane.oneToOne);
  const zoom = Math.min(most, Math.max(least, pane.shared.view.zoom * factor));
  look(pane, zoom, pane.pointAt(here), here);
}

export function zoomTo(pane, zoom, at) {
  if (pane.ready) zoomBy(pane, zoom / pane.shared.view.zoom, at);
}

export function moveBy(pane, across, down) {
  if (!pane.ready) return;
  const { width, height } = pane.box;
  const middle = { x: width / 2, y: height / 2 };
  look(pane, pane.shared.view.zoom, pane.pointAt({ x: middle.x - across, y: middle.y - down }), middle);
}

function look(pane, zoom, point, at) {
  Object.assign(pane.shared.view, viewWith(pane.painter.size, pane.box, pane.turn, zoom, point, at));
  pane.shared.redraw();
}

export function takeHands(pane, chosen) {
  const { stage } = pane;
  const held = new Map();
  const where = (event) => {
    const box = stage.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };

  stage.addEventListener("focusin", () => chosen(pane));
  stage.addEventListener("pointerdown", (event) => {
    chosen(pane);
    stage.focus({ preventScroll: true });
    held.set(event.pointerId, { ...where(event), button: event.button });
    stage.setPointerCapture(event.pointerId);
    if (event.button === 1) event.preventDefault();
  });
  stage.addEventListener("pointermove", (event) => {
    const now = where(event);
    pane.pointer = now;
    const before = held.get(event.pointerId);
    if (!before) return pane.ready && pane.tellValue();
    const across = now.x - before.x;
    const down = now.y - before.y;
    if (held.size === 2) pinch(pane, held, event.pointerId, now);
    else if (event.pointerType === "mouse" && before.button === 0) pane.adjust(across, down);
    else moveBy(pane, across, down);
    held.set(event.pointerId, { ...now, button: before.button });
  });
  for (const kind of ["pointerup", "pointercancel"]) stage.addEventListener(kind, (event) => held.delete(event.pointerId));
  stage.addEventListener("pointerleave", () => {
    pane.pointer = null;
    if (pane.ready) pane.tellValue();
  });
  stage.addEventListener("contextmenu", (event) => event.preventDefault());
  stage.addEventListener("dblclick", (event) => {
    if (!pane.ready) return;
    zoomTo(pane, isOneToOne(pane) ? 1 : pane.oneToOne, where(event));
  });
  stage.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
      zoomBy(pane, Math.exp((-event.deltaY * lines) / 500), where(event));
    },
    { passive: false },
  );
}

export function isOneToOne(pane) {
  return pane.ready && Math.abs(pane.shared.view.zoom / pane.oneToOne - 1) < 1e-6;
}

function pinch(pane, held, moved, now) {
  const [other] = [...held].find(([id]) => id !== moved).slice(1);
  const before = held.get(moved);
  const span = (point) => Math.max(20, Math.hypot(point.x - other.x, point.y - other.y));
  const middle = (point) => ({ x: (point.x + other.x) / 2, y: (point.y + other.y) / 2 });
  const [from, to] = [middle(before), middle(now)];
  moveBy(pane, to.x - from.x, to.y - from.y);
  zoomBy(pane, span(now) / span(before), to);
}
