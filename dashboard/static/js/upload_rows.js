// The lines of an upload, one a file, and the list of what was left unfinished.
import { duration, number, size } from "./format.js";
import { gettext } from "./words.js";

const MOST_ROWS = 100; // of a folder of thousands: what is under way, then what waits
const ORDER = { failed: 0, sending: 1, paused: 2, waiting: 3, sent: 4 };
const SAID = { waiting: gettext("waits"), sending: "", paused: gettext("paused"), sent: gettext("sent"), failed: "" };
const weight = (bytes) => (bytes === 0 ? gettext("empty") : size(bytes));

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// Lines are kept and changed in place, so that a reader of the screen is not told all of them anew.
export class Rows {
  constructor(list, more) {
    Object.assign(this, { list, more });
    this.lines = new Map();
  }

  show(transfers) {
    const sorted = transfers.length > MOST_ROWS ? [...transfers].sort((a, b) => ORDER[a.state] - ORDER[b.state]) : transfers;
    const shown = sorted.slice(0, MOST_ROWS);
    const wanted = new Set(shown);
    for (const [transfer, line] of this.lines) {
      if (wanted.has(transfer)) continue;
      line.whole.remove();
      this.lines.delete(transfer);
    }
    for (const transfer of shown) this.#fill(transfer);
    this.more.hidden = transfers.length <= MOST_ROWS;
    this.more.textContent = gettext("and %(count)s more", { count: number(transfers.length - shown.length) });
  }

  #fill(transfer) {
    let line = this.lines.get(transfer);
    if (!line) {
      line = { bar: element("progress", { max: 1, ariaLabel: transfer.name }), note: element("span", { className: "dim" }) };
      const name = element("bdi", { className: "name", textContent: transfer.name, title: transfer.name });
      line.whole = element("li", {}, name, line.note, line.bar);
      this.list.append(line.whole);
      this.lines.set(transfer, line);
    }
    const total = transfer.file.size;
    line.whole.className = transfer.state;
    line.bar.value = transfer.state === "sent" ? 1 : total ? transfer.offset / total : 0;
    const share = gettext("%(part)s of %(whole)s", { part: size(transfer.offset), whole: size(total) });
    line.note.textContent = transfer.said || [SAID[transfer.state], total === 0 || transfer.state === "sent" ? weight(total) : share].filter(Boolean).join(", ");
  }
}

export function sumOf(queue) {
  const { gone, total, speed } = queue;
  const left = speed > 0 ? (total - gone) / speed : 0;
  const parts = [gettext("%(part)s of %(whole)s", { part: size(gone), whole: size(total) })];
  if (queue.transfers.length > 1) parts.push(gettext("files: %(part)s of %(whole)s", { part: number(queue.count("sent")), whole: number(queue.transfers.length) }));
  if (queue.running && speed > 0) parts.push(gettext("%(size)s/s", { size: size(speed) }));
  if (queue.running && left > 1) parts.push(gettext("about %(time)s left", { time: duration(left) }));
  return parts.join(" · ");
}

// One line a group. `discard` and `start` are called with the rows of the group.
export function showUnfinished(list, rows, discard, start) {
  const groups = Map.groupBy ? Map.groupBy(rows, (row) => row.group || row.url) : byGroup(rows);
  list.replaceChildren(
    ...[...groups.values()].map((group) => {
      const total = group.reduce((sum, row) => sum + row.size, 0);
      const there = group.reduce((sum, row) => sum + row.offset, 0);
      const title = group.length === 1 ? group[0].name : gettext("%(name)s and %(count)s more", { name: group[0].name, count: number(group.length - 1) });
      const until = new Date(Math.min(...group.map((row) => row.expires)) * 1000).toISOString().slice(0, 10);
      const drop = element("button", { type: "button", className: "quiet", textContent: gettext("Discard") });
      drop.addEventListener("click", () => discard(group));
      const buttons = element("span", { className: "row" }, drop);
      if (there === total) {
        const go = element("button", { type: "button", textContent: gettext("Screen these") });
        go.addEventListener("click", () => start(group));
        buttons.prepend(go);
      }
      const note = element("span", { className: "dim", textContent: gettext("%(part)s of %(whole)s here, kept until %(day)s", { part: size(there), whole: size(total), day: until }) });
      const bar = element("progress", { max: 1, value: total ? there / total : 1, ariaLabel: title });
      return element("li", {}, element("bdi", { className: "name", textContent: title, title }), note, buttons, bar);
    }),
  );
}

function byGroup(rows) {
  const groups = new Map();
  for (const row of rows) groups.set(row.group || row.url, [...(groups.get(row.group || row.url) ?? []), row]);
  return groups;
}
