// Keep a job's account alive: ask every second while the page is in view and the job is open.
import { decimal, duration, number } from "./format.js";

const SECOND = 1000;
const card = document.getElementById("progress");
const by = (id) => document.getElementById(id);
const COUNTS = ["found", "scored", "rejected", "duplicate", "failed", "cancelled", "waiting"];

function show(told) {
  for (const name of COUNTS) by(`count-${name}`).textContent = number(told[name]);
  const state = by("job-state");
  state.textContent = told.state_word;
  state.className = `badge state-${told.state}`;
  by("job-bar").value = told.share;
  by("job-share").textContent = `${Math.floor(told.share * 100)} %`;
  by("job-rate").textContent = decimal(told.rate, 1);
  by("job-took").textContent = duration(told.seconds);
  by("job-listing").hidden = told.listed || !told.open;
  by("job-left-line").hidden = told.seconds_left === null;
  if (told.seconds_left !== null) {
    by("job-left").textContent = duration(told.seconds_left);
    by("job-left-low").textContent = duration(told.seconds_left_low);
    by("job-left-high").textContent = duration(told.seconds_left_high);
    by("job-left-range").hidden = told.seconds_left_low === told.seconds_left_high;
  }
  by("job-error").hidden = !told.error;
  by("job-error").textContent = told.error ?? "";
  by("job-left-out").hidden = told.unchanged === null;
  for (const name of ["unchanged", "unsettled"]) by(`count-${name}`).textContent = number(told[name] ?? 0);
  showReasons(told);
  showButtons(told);
}

function showReasons(told) {
  const rows = Object.entries(told.reasons)
    .sort((one, other) => other[1] - one[1])
    .map(([reason, count]) => {
      const row = document.createElement("tr");
      const number_ = row.insertCell();
      number_.className = "num";
      const link = document.createElement("a");
      link.href = `${card.dataset.entries}?reason=${encodeURIComponent(reason)}`;
      link.textContent = number(count);
      number_.append(link);
      const code = document.createElement("span");
      code.className = "dim";
      code.textContent = reason;
      row.insertCell().append(`${told.sentences[reason]} `, code);
      return row;
    });
  by("reasons").replaceChildren(...rows);
  by("reasons-card").hidden = rows.length === 0;
}

function showButtons(told) {
  for (const form of document.querySelectorAll("#actions form")) {
    const fits = form.dataset.states.split(" ").includes(told.state);
    form.hidden = !fits || (form.dataset.needs === "retry" && !told.retry);
  }
}

// The time line is drawn by the server; it is asked for again when something happened, and at times, as it grows.
const GROWS = 15; // asks
let known = "";
let asks = 0;

async function showPast(told) {
  const happened = `${told.state} ${told.listed} ${told.failed} ${told.scored > 0}`;
  asks += 1;
  if (happened === known && asks % GROWS !== 0) return;
  const answer = await fetch(by("past").dataset.url);
  if (!answer.ok) return;
  const drawn = new DOMParser().parseFromString(await answer.text(), "text/html");
  by("timeline").replaceChildren(...drawn.body.childNodes);
  known = happened;
}

async function ask() {
  if (document.hidden) return true;
  try {
    const answer = await fetch(card.dataset.url, { headers: { Accept: "application/json" } });
    if (answer.status === 401) {
      window.location.reload();
      return false;
    }
    if (!answer.ok) return true;
    const told = await answer.json();
    show(told);
    await showPast(told);
    return told.open;
  } catch {
    return true; // the server may be starting again
  }
}

async function watch() {
  while (await ask()) await new Promise((resolve) => setTimeout(resolve, SECOND));
}

if (card.dataset.open === "yes") watch();
