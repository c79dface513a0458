// Drop or choose files, archives and folders; send them with a progress bar. Without this script the form still works.
import { duration, number, size } from "./format.js";

const form = document.getElementById("upload");
const drop = document.getElementById("drop");
const files = document.getElementById("files");
const folder = document.getElementById("folder");
const chosenLine = document.getElementById("chosen");
const sending = document.getElementById("sending");
const bar = document.getElementById("sent");
const barText = document.getElementById("sent-text");
const errorLine = document.getElementById("upload-error");
const send = document.getElementById("send");
const stop = document.getElementById("stop");

let chosen = []; // [File, name with its folders]
let running = null;

function choose(list) {
  chosen = list;
  const total = list.reduce((sum, [file]) => sum + file.size, 0);
  chosenLine.hidden = list.length === 0;
  chosenLine.textContent =
    list.length === 1 ? `${list[0][1]}, ${size(total)}` : `${number(list.length)} files, ${size(total)}`;
  const most = Number(form.dataset.most);
  say(total > most ? `That is ${size(total)}; this server takes ${size(most)} at most.` : "");
}

function say(text) {
  errorLine.textContent = text;
  errorLine.hidden = !text;
}

for (const input of [files, folder]) {
  input.addEventListener("change", () => {
    (input === files ? folder : files).value = "";
    choose([...input.files].map((file) => [file, file.webkitRelativePath || file.name]));
  });
}

// A dropped folder is walked; the browser hands out its entries a hundred at a time.
async function walk(entry, path) {
  const name = path ? `${path}/${entry.name}` : entry.name;
  if (entry.isFile) {
    return [[await new Promise((resolve, reject) => entry.file(resolve, reject)), name]];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return found;
    for (const child of some) found.push(...(await walk(child, name)));
  }
}

for (const kind of ["dragenter", "dragover"]) {
  drop.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
drop.addEventListener("dragleave", (event) => {
  if (!drop.contains(event.relatedTarget)) drop.classList.remove("over");
});
drop.addEventListener("drop", async (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  if (running) return;
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  files.value = "";
  folder.value = "";
  try {
    const found = [];
    for (const entry of entries) found.push(...(await walk(entry, "")));
    choose(found);
  } catch {
    say("The browser could not read what was dropped; choose the files instead.");
  }
});

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (running) return;
  if (chosen.length === 0) {
    say("Choose a file, an archive or a folder first.");
    return;
  }
  const body = new FormData();
  body.append("csrf_token", form.elements.csrf_token.value);
  for (const [file, name] of chosen) body.append("files", file, name);
  transmit(body);
});

stop.addEventListener("click", () => running?.abort());

function transmit(body) {
  const request = new XMLHttpRequest();
  const began = performance.now();
  running = request;
  say("");
  show(true);
  request.open("POST", form.action);
  request.setRequestHeader("Accept", "application/json");
  request.setRequestHeader("X-CSRFToken", form.elements.csrf_token.value);
  request.responseType = "json";
  request.upload.addEventListener("progress", (event) => {
    if (!event.lengthComputable) return;
    bar.value = event.loaded / event.total;
    const seconds = (performance.now() - began) / 1000;
    const left = (seconds / event.loaded) * (event.total - event.loaded);
    const rest = seconds > 2 && left > 1 ? `, about ${duration(left)} left` : "";
    barText.textContent = `Sent ${size(event.loaded)} of ${size(event.total)}${rest}`;
  });
  request.upload.addEventListener("load", () => {
    barText.textContent = "Sent; the server puts it into its store";
  });
  request.addEventListener("load", () => {
    const told = request.response;
    if (request.status === 200 && told?.url) {
      window.location.assign(told.url);
      return;
    }
    end(told?.error || `The server answered with ${request.status}.`);
  });
  request.addEventListener("error", () => end("The connection broke off. Nothing was kept; send it again."));
  request.addEventListener("abort", () => end("Stopped. Nothing was kept."));
  request.send(body);
}

function end(text) {
  running = null;
  show(false);
  say(text);
}

function show(busy) {
  sending.hidden = !busy;
  stop.hidden = !busy;
  send.disabled = busy;
  bar.value = 0;
}

window.addEventListener("beforeunload", (event) => {
  if (running && running.readyState !== XMLHttpRequest.DONE) event.preventDefault();
});
