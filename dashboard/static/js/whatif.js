// The slider of the threshold: the figures of any three decimals, from the counts that came with the page.
import { decimal, local, number } from "./format.js";

const Z95 = 1.959964;
const held = document.getElementById("weighing");
const curve = JSON.parse(held.dataset.curve);
const steps = Number(held.dataset.steps);
const slide = document.getElementById("slide");
const typed = document.getElementById("threshold");
const mark = held.querySelector(".chart .mark-then");
const [left, right] = ["x1", "x2"].map((end) => Number(held.querySelector(".chart .axis").getAttribute(end)));

const sum = (pairs, from) => pairs.reduce((all, [step, count]) => (step >= from ? all + count : all), 0);

// Wilson's interval, as cxrscreen/compare.py reckons it.
function wilson(hits, of) {
  const share = hits / of;
  const spread = (Z95 * Z95) / of;
  const middle = (share + spread / 2) / (1 + spread);
  const half = (Z95 * Math.sqrt((share * (1 - share)) / of + spread / of / 4)) / (1 + spread);
  return [share, Math.max(0, middle - half), Math.min(1, middle + half)];
}

function say(id, main, beside = "", under = "") {
  const cell = document.getElementById(id);
  const part = (tag, text, kind = "") => Object.assign(document.createElement(tag), { textContent: text, className: kind });
  cell.replaceChildren(part("b", main));
  if (beside) cell.append(" ", part("span", beside, "dim nowrap"));
  if (under) cell.append(" ", part("span", under, "under dim"));
}

function rate(id, hits, of) {
  const words = held.dataset;
  if (!of) return say(id, "–", "", words.none);
  const [share, low, high] = wilson(hits, of).map((value) => decimal(value * 100, 1));
  const fill = (text, ...values) => values.reduce((said, value, place) => said.replace(`{${place}}`, value), text);
  say(id, `${share} %`, fill(words.range, low, high), fill(words.hits, number(hits), number(of)));
}

function weigh(threshold) {
  const from = Math.round(threshold * steps);
  say("then-flagged", number(sum(curve.all, from)));
  say("then-open", number(sum(curve.open, from)));
  say("then-per-night", curve.nights ? decimal(sum(curve.lately, from) / curve.nights, 1) : "–");
  const [found, ill] = [sum(curve.confirmed, from), sum(curve.confirmed, 0)];
  const [wrong, well] = [sum(curve.dismissed, from), sum(curve.dismissed, 0)];
  rate("then-sensitivity", found, ill);
  rate("then-specificity", well - wrong, well);
  rate("then-ppv", found, found + wrong);
  const written = String(from / steps);
  for (const id of ["then-threshold", "sign-threshold"]) {
    const cell = document.getElementById(id);
    if (cell) cell.textContent = local(written);
  }
  const signed = document.getElementById("signed-threshold");
  if (signed) signed.value = written;
  typed.value = local(written);
  slide.setAttribute("aria-valuetext", local(written));
  const x = (left + (right - left) * threshold).toFixed(1);
  mark.setAttribute("x1", x);
  mark.setAttribute("x2", x);
}

slide.addEventListener("input", () => weigh(Number(slide.value)));
