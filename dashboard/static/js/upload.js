// The upload page: drop or choose, send, pause, go on another day. Without this script the form still works.
import { number, size } from "./format.js";
import { whenChosen } from "./upload_choose.js";
import { Queue, jobOf, startGroup } from "./upload_queue.js";
import { Rows, showUnfinished, sumOf } from "./upload_rows.js";
import { gettext, ngettext } from "./words.js";

const by = (id) => document.getElementById(id);
const form = by("upload");
const token = form.elements.csrf_token.value;
const rows = new Rows(by("lines"), by("more-lines"));
const LONGEST_NAME = 1000; // a header holds it

let chosen = []; // [File, name with its folders]
let unfinished = [];
let queue = null;
let choice = Promise.resolve(); // that is being made: the server is asked first what it has of it
let drawn = 0;
let leaving = false;

const busy = () => Boolean(queue?.running);

function say(text) {
  by("upload-error").textContent = text;
  by("upload-error").hidden = !text;
}

function choose(list) {
  chosen = list.map(([file, name]) => [file, name.slice(-LONGEST_NAME)]);
  const total = chosen.reduce((sum, [file]) => sum + file.size, 0);
  by("chosen").hidden = chosen.length === 0;
  const files = ngettext("%(num)s file", "%(num)s files", chosen.length, { num: number(chosen.length) });
  by("chosen").textContent = `${chosen.length === 1 ? chosen[0][1] : files}, ${size(total)}`;
  const most = Number(form.dataset.most);
  say(total > most ? gettext("That is %(size)s; this server takes %(most)s at most.", { size: size(total), most: size(most) }) : "");
  queue = null;
  if (chosen.length === 0) return draw();
  queue = new Queue(chosen, unfinished, token, draw);
  const there = queue.gone;
  const already = gettext("%(size)s are here already, it goes on from there", { size: size(there) });
  if (there > 0) by("chosen").textContent += `; ${already}`;
  draw();
}

// At most five times a second, and once more at the end.
function draw() {
  const wait = 200 - (performance.now() - drawn);
  if (wait > 0) {
    drawn || paint();
    clearTimeout(draw.later);
    draw.later = setTimeout(paint, wait);
  } else paint();
}

function paint() {
  drawn = performance.now();
  const begun = queue !== null && (busy() || queue.gone > 0 || queue.count("paused") + queue.count("failed") > 0);
  by("sending").hidden = !begun;
  by("pause").hidden = !busy();
  by("cancel").hidden = !begun;
  by("send").hidden = busy();
  by("send").textContent = begun ? gettext("Resume") : gettext("Upload and screen");
  rows.show(begun ? queue.transfers : []);
  if (!begun) return;
  by("sent").value = queue.total ? queue.gone / queue.total : 1;
  by("sent-text").textContent = sumOf(queue);
  for (const input of [by("files"), by("folder")]) input.disabled = busy();
}

async function send() {
  say("");
  const mine = queue;
  const whole = await mine.send();
  if (queue !== mine) return; // cancelled
  draw();
  if (whole) return start(mine.group);
  const failed = mine.transfers.filter((transfer) => transfer.state === "failed");
  if (failed.length > 0) say(failed[0].said);
}

async function start(group, alone = "") {
  say("");
  by("sent-text").textContent = gettext("Sent; the server puts it into its store");
  try {
    const url = group ? await startGroup(group, token) : await jobOf(alone);
    if (!url) throw new Error(gettext("The server made no job of it; reload the page."));
    leaving = true;
    window.location.assign(url);
  } catch (error) {
    say(error.message);
    await refresh();
  }
}

async function refresh() {
  try {
    const answer = await fetch("/uploads/unfinished", { headers: { Accept: "application/json" } });
    unfinished = answer.ok ? (await answer.json()).uploads : [];
  } catch {
    return; // the list is a help; the form does without it
  }
  by("unfinished").hidden = unfinished.length === 0;
  showUnfinished(by("unfinished-list"), unfinished, discard, ([row]) => start(row.group, row.url));
}

async function discard(group) {
  if (!window.confirm(gettext("What has come of this upload is deleted. Go on?"))) return;
  const headers = { "Tus-Resumable": "1.0.0", "X-CSRFToken": token };
  for (const row of group) await fetch(row.url, { method: "DELETE", headers }).catch(() => null);
  await refresh();
  choose(chosen);
}

whenChosen({
  ...{ drop: by("drop"), files: by("files"), folder: by("folder") },
  busy,
  chosen: (list) => {
    choice = refresh().then(() => choose(list));
  },
  failed: say,
});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  await choice;
  if (busy()) return;
  if (queue === null) say(gettext("Choose a file, an archive or a folder first."));
  else send();
});

by("pause").addEventListener("click", () => {
  queue.pause();
  draw();
});

by("cancel").addEventListener("click", async () => {
  if (!window.confirm(gettext("What has been sent is deleted. To go on later, pause instead. Delete it?"))) return;
  const mine = queue;
  queue = null;
  form.reset();
  chosen = [];
  by("chosen").hidden = true;
  paint();
  await mine.cancel();
  await refresh();
  say(gettext("Cancelled. Nothing was kept."));
});

window.addEventListener("beforeunload", (event) => {
  if (busy() && !leaving) event.preventDefault();
});

refresh();
