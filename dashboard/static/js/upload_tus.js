// One file on its way to the server by the tus protocol. Bytes that arrived stay there, whatever happens here.
import { gettext } from "./words.js";

const PIECE = 32 * 2 ** 20; // a proxy that holds a body back until it is whole holds no more than this
const LONGEST_WAIT = 30;
const BYTES = "application/offset+octet-stream";

export class Refused extends Error {} // by the server, for good: trying again changes nothing
export class Stopped extends Error {} // by the person

function base64(text) {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}

export class Transfer {
  // `known` is what the server has of this very file, or nothing; `moved` is called at every step.
  constructor(file, name, group, token, known, moved) {
    Object.assign(this, { file, name, group, token, moved });
    this.url = known?.url ?? "";
    this.offset = known?.offset ?? 0;
    this.tries = 0;
    this.state = this.url && this.offset === file.size ? "sent" : "waiting"; // sending, paused, sent, failed
    this.said = "";
  }

  async send() {
    this.stopped = false;
    this.#become("sending");
    let certain = !this.url; // of the offset
    while (!this.url || this.offset < this.file.size || !certain) {
      try {
        if (!this.url) await this.#create();
        else if (!certain) await this.#ask();
        else await this.#piece();
        certain = true;
        this.tries = 0;
      } catch (error) {
        if (error instanceof Stopped) return this.#become("paused");
        if (error instanceof Refused) return this.#become("failed", error.message);
        certain = !this.url;
        await this.#wait(error.message);
        if (this.stopped) return this.#become("paused");
      }
    }
    this.#become("sent");
  }

  pause() {
    this.stopped = true;
    this.request?.abort();
    this.wake?.();
    if (this.state === "waiting") this.#become("paused");
  }

  async cancel() {
    this.pause();
    if (!this.url) return;
    for (let tries = 0; tries < 5; tries += 1) {
      const answer = await this.#call("DELETE", this.url, {}, null, true).catch(() => null);
      // 423: the server has not noticed yet that the line is down.
      if (answer && answer.status !== 423) return;
      await new Promise((resolve) => setTimeout(resolve, 400 * (tries + 1)));
    }
  }

  async #create() {
    const told = { filename: this.name, group: this.group, modified: String(this.file.lastModified) };
    const headers = {
      "Upload-Length": this.file.size,
      "Upload-Metadata": Object.entries(told).map(([key, value]) => `${key} ${base64(value)}`).join(","),
    };
    // A small file comes with its own creation: a folder of thousands needs one request for each.
    const small = this.file.size > 0 && this.file.size <= 2 ** 20;
    if (small) headers["Content-Type"] = BYTES;
    const answer = await this.#call("POST", "/uploads/tus", headers, small ? this.file : null);
    this.url = answer.getResponseHeader("Location");
    this.offset = Number(answer.getResponseHeader("Upload-Offset") ?? 0);
  }

  async #ask() {
    const answer = await this.#call("HEAD", this.url, {}, null);
    this.offset = Number(answer.getResponseHeader("Upload-Offset"));
  }

  async #piece() {
    const from = this.offset;
    const body = this.file.slice(from, from + PIECE);
    const answer = await this.#call("PATCH", this.url, { "Upload-Offset": from, "Content-Type": BYTES }, body);
    this.offset = Number(answer.getResponseHeader("Upload-Offset"));
  }

  #call(method, url, headers, body, last = false) {
    return new Promise((resolve, reject) => {
      if (this.stopped && !last) return reject(new Stopped());
      const request = new XMLHttpRequest();
      const from = this.offset;
      this.request = request;
      request.open(method, url);
      request.setRequestHeader("Tus-Resumable", "1.0.0");
      request.setRequestHeader("X-CSRFToken", this.token);
      for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, String(value));
      if (body) {
        request.upload.addEventListener("progress", (event) => {
          this.offset = from + event.loaded;
          this.moved();
        });
      }
      request.addEventListener("load", () => {
        if (request.status < 300 || last) resolve(request);
        else reject(this.#failure(request, method));
      });
      request.addEventListener("error", () => reject(new Error(gettext("The line is down"))));
      request.addEventListener("abort", () => reject(new Stopped()));
      request.send(body);
    });
  }

  #failure(request, method) {
    const { status } = request;
    if (method !== "POST" && (status === 404 || status === 410)) {
      this.url = ""; // given up there: from the beginning
      this.offset = 0;
      return new Error(gettext("Begun anew"));
    }
    const text = method === "HEAD" ? "" : told(request);
    // The offset is another, somebody writes, bytes were mangled, the server starts: all of these pass.
    if ((status === 409 && method === "PATCH") || status === 423 || status === 460 || status >= 500) {
      return status === 507 ? new Refused(text) : new Error(text || gettext("The server answered with %(status)s.", { status }));
    }
    return method === "PATCH" && status === 400 ? new Error(text) : new Refused(text || refusal(status));
  }

  async #wait(reason) {
    this.tries += 1;
    const seconds = Math.min(LONGEST_WAIT, 0.5 * 2 ** this.tries) * (0.75 + Math.random() / 2);
    this.#become("sending", gettext("%(reason)s; trying again", { reason }));
    await new Promise((resolve) => {
      this.wake = resolve;
      setTimeout(resolve, seconds * 1000);
      window.addEventListener("online", resolve, { once: true });
    });
  }

  #become(state, said = "") {
    this.state = state;
    this.said = said;
    this.moved();
  }
}

function refusal(status) {
  if (status === 401) return gettext("Your session ended: sign in again, then choose the same files.");
  return gettext("The server answered with %(status)s.", { status });
}

export function told(request) {
  try {
    return JSON.parse(request.responseText).error ?? "";
  } catch {
    return "";
  }
}
