// The samples of a picture, as the server stores them, and what they mean.
import { gettext } from "./words.js";

// Resolves to { width, height, bits, signed, inverted, window, exact, low, high, presets, tones, samples }; rejects
// with the server's own sentence.
export async function fetchPixels(url, signal) {
  const answer = await fetch(url, { headers: { Accept: "application/json" }, signal });
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    throw new Error(told.error || gettext("The picture could not be loaded."));
  }
  const told = JSON.parse(answer.headers.get("X-Pixels"));
  const body = await answer.arrayBuffer();
  const codes = 2 ** told.bits;
  const tones = new Uint8Array(body, 0, codes);
  const Samples = told.bits === 8 ? Uint8Array : Uint16Array;
  const samples = new Samples(body, codes);
  if (samples.length !== told.width * told.height) throw new Error(gettext("The picture came cut short."));
  return { ...told, tones, samples };
}

// A case that is read next waits in the browser's cache; nothing of it is kept here.
export async function preload(url) {
  try {
    const reader = (await fetch(url, { headers: { Accept: "application/json" } })).body.getReader();
    while (!(await reader.read()).done);
  } catch {
    // It is fetched when its turn comes, and says then what is wrong.
  }
}

export function sampleAt(pixels, x, y) {
  const [column, row] = [Math.floor(x), Math.floor(y)];
  if (column < 0 || row < 0 || column >= pixels.width || row >= pixels.height) return null;
  const code = pixels.samples[row * pixels.width + column];
  return pixels.signed && code >= 2 ** (pixels.bits - 1) ? code - 2 ** pixels.bits : code;
}
