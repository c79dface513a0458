// All files of one upload: a few at a time, with the sum of what has gone and how fast it goes.
import { Transfer } from "./upload_tus.js";
import { gettext } from "./words.js";

const AT_ONCE = 3;
const SPEED_SECONDS = 8;

export const sameFile = (name, size, modified) => JSON.stringify([name, size, modified]);

export class Queue {
  // `chosen` is [File, name] pairs, `unfinished` what the server has of this person.
  constructor(chosen, unfinished, token, moved) {
    const known = new Map(unfinished.map((row) => [sameFile(row.name, row.size, row.modified), row]));
    const found = chosen.map(([file, name]) => known.get(sameFile(name, file.size, file.lastModified)));
    this.group = found.find(Boolean)?.group || hex();
    this.token = token;
    this.marks = []; // [seconds, bytes gone] of the last moments
    this.moved = moved;
    const used = new Set();
    this.transfers = chosen.map(([file, name], place) => {
      const row = found[place];
      const mine = row && row.group === this.group && !used.has(row.url) ? row : null;
      if (mine) used.add(mine.url);
      return new Transfer(file, name, this.group, token, mine, () => this.#step());
    });
    this.total = chosen.reduce((sum, [file]) => sum + file.size, 0);
  }

  get gone() {
    return this.transfers.reduce((sum, transfer) => sum + transfer.offset, 0);
  }

  // Bytes a second over the last moments; 0 where nothing can be said yet.
  get speed() {
    const [first, last] = [this.marks[0], this.marks.at(-1)];
    return this.marks.length > 1 ? Math.max(0, (last[1] - first[1]) / (last[0] - first[0])) : 0;
  }

  count(state) {
    return this.transfers.filter((transfer) => transfer.state === state).length;
  }

  // Sends what is not sent. Answers true once all of it is there, false where some of it failed or was paused.
  async send() {
    this.running = true;
    this.marks = [];
    for (const transfer of this.transfers) {
      if (transfer.state === "paused" || transfer.state === "failed") transfer.state = "waiting";
    }
    const waiting = this.transfers.filter((transfer) => transfer.state === "waiting");
    const line = async () => {
      while (this.running && waiting.length > 0) await waiting.shift().send();
    };
    await Promise.all(Array.from({ length: AT_ONCE }, line));
    this.running = false;
    return this.transfers.every((transfer) => transfer.state === "sent");
  }

  pause() {
    this.running = false;
    for (const transfer of this.transfers) if (transfer.state !== "sent" && transfer.state !== "failed") transfer.pause();
  }

  async cancel() {
    this.pause();
    for (const transfer of this.transfers) await transfer.cancel();
  }

  #step() {
    const now = performance.now() / 1000;
    if (now - (this.marks.at(-1)?.[0] ?? 0) > 0.2) {
      this.marks.push([now, this.gone]);
      while (now - this.marks[0][0] > SPEED_SECONDS) this.marks.shift();
    }
    this.moved();
  }
}

// An upload without a group has its job once it is whole; the server says which when it is asked for the offset.
export async function jobOf(url) {
  const answer = await fetch(url, { method: "HEAD", headers: { "Tus-Resumable": "1.0.0" } });
  return answer.headers.get("Cxrscreen-Job");
}

// Asks for the job of a group until an answer comes: the server makes one, however often it is asked.
export async function startGroup(group, token) {
  for (let tries = 0; ; tries += 1) {
    let answer = null;
    try {
      const headers = { Accept: "application/json", "X-CSRFToken": token };
      answer = await fetch(`/uploads/groups/${encodeURIComponent(group)}`, { method: "POST", headers });
    } catch (error) {
      if (tries > 8) throw error;
    }
    if (answer?.ok) return (await answer.json()).url;
    if (answer && answer.status < 502) {
      const told = await answer.json().catch(() => ({}));
      throw new Error(told.error || gettext("The server answered with %(status)s.", { status: answer.status }));
    }
    await new Promise((resolve) => setTimeout(resolve, Math.min(30, 2 ** tries) * 500));
  }
}

function hex() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
