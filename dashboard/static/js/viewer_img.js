// The way without WebGL2: an 8-bit picture that the server has windowed, its window changed by CSS filters. Its
// "samples" are greys from 0 to 255.
import { gettext } from "./words.js";

export class ImagePainter {
  constructor(image) {
    this.image = image;
    this.pixels = {
      width: image.naturalWidth,
      height: image.naturalHeight,
      bits: 8,
      inverted: false,
      window: [128, 256],
      exact: true,
      low: 0,
      high: 255,
      presets: [[128, 256], [80, 160], [160, 192], [128, 128]],
    };
  }

  get size() {
    return { width: this.pixels.width, height: this.pixels.height };
  }

  draw(tone, place) {
    const { a, b, c, d, e, f } = place;
    const { style } = this.image;
    style.width = `${this.pixels.width}px`;
    style.height = `${this.pixels.height}px`;
    style.transform = `matrix(${a}, ${b}, ${c}, ${d}, ${e}, ${f})`;
    const filters = [];
    if (!tone.table) {
      // out = (in - middle) / width + 1/2 of PS3.3 C.11.2.1.2, in shares of the range, as two filters.
      const middle = Math.max(0.02, (tone.centre - 0.5) / 255);
      const share = Math.max(1, tone.width - 1) / 255;
      filters.push(`brightness(${0.5 / middle})`, `contrast(${(2 * middle) / share})`);
    }
    if (tone.invert) filters.push("invert(1)");
    style.filter = filters.join(" ");
  }

  free() {
    this.image.remove();
  }
}

export async function loadedImage(url, alt) {
  const image = new Image();
  image.alt = alt;
  image.className = "flat";
  image.draggable = false;
  image.src = url;
  await image.decode().catch(async () => {
    const answer = await fetch(url, { headers: { Accept: "application/json" } });
    const told = await answer.json().catch(() => ({}));
    throw new Error(told.error || gettext("The picture could not be loaded."));
  });
  return image;
}
