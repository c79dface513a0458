// One picture on its stage: what is loaded, how it is windowed and turned, and what is said about it underneath.
import { applied, inverse, fitted, mirrored, placed, seenQuarter, turned, UPRIGHT, START } from "./viewer_geometry.js";
import { GlPainter } from "./viewer_gl.js";
import { ImagePainter, loadedImage } from "./viewer_img.js";
import { fetchPixels, sampleAt } from "./viewer_pixels.js";
import { local } from "./format.js";
import { makeHeat } from "./viewer_heat.js";
import { gettext } from "./words.js";

export class Pane {
  // `shared` is { view, heat, opacity }: what the panes that stand side by side have in common; `changed` is called
  // when something of this pane did.
  constructor(root, shared, changed) {
    this.root = root;
    this.shared = shared;
    this.changed = changed;
    this.stage = root.querySelector(".stage");
    this.canvas = root.querySelector("canvas");
    this.heat = root.querySelector(".heat");
    this.turn = UPRIGHT;
    this.tone = { table: true, centre: 0, width: 1, invert: false };
    this.pointer = null;
    this.canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    this.canvas.addEventListener("webglcontextrestored", () => {
      if (this.painter instanceof GlPainter) this.painter.build();
      this.draw();
    });
    this.watch = new ResizeObserver(() => this.draw());
    this.watch.observe(this.stage);
  }

  async load() {
    this.coming?.abort();
    this.coming = new AbortController();
    const { signal } = this.coming;
    this.clear();
    this.state("loading", gettext("Loading…"));
    try {
      const painter = await this.paintable(signal);
      if (signal.aborted) return painter.free();
      this.painter = painter;
    } catch (error) {
      if (!signal.aborted) this.state("failed", error.message);
      return;
    }
    this.reset();
    this.state("shown", "");
    this.draw();
  }

  async paintable(signal) {
    const { pixels, picture } = this.root.dataset;
    const alt = this.canvas.getAttribute("aria-label");
    if (pixels && typeof WebGL2RenderingContext !== "undefined") {
      const told = await fetchPixels(pixels, signal);
      if (signal.aborted) throw new Error("another picture was asked for");
      try {
        const made = new GlPainter(this.canvas, told);
        this.canvas.hidden = false;
        return made;
      } catch {
        // The other way takes any picture.
      }
    }
    const image = await loadedImage(picture, alt);
    if (!signal.aborted) {
      this.canvas.hidden = true;
      this.canvas.after(image);
    }
    return new ImagePainter(image);
  }

  clear() {
    this.painter?.free();
    this.painter = null;
    this.canvas.hidden = true;
    if (this.heat) this.heat.hidden = true;
  }

  close() {
    this.coming?.abort();
    this.watch.disconnect();
    this.clear();
  }

  state(name, said) {
    this.root.dataset.state = name;
    const line = this.root.querySelector(".pane-said");
    line.textContent = said;
    line.hidden = !said;
    line.classList.toggle("bad", name === "failed");
    this.changed();
  }

  get ready() {
    return Boolean(this.painter);
  }

  get box() {
    return { width: this.stage.clientWidth, height: this.stage.clientHeight };
  }

  get place() {
    return placed(this.painter.size, this.box, this.shared.view, this.turn, devicePixelRatio);
  }

  // The zoom at which a pixel of the picture is a pixel of the screen.
  get oneToOne() {
    return 1 / devicePixelRatio / fitted(this.painter.size, this.box, this.turn);
  }

  reset() {
    this.turn = UPRIGHT;
    if (!this.painter) return;
    const [centre, width] = this.painter.pixels.window;
    this.tone = { table: true, centre, width, invert: false };
  }

  // Number 1 is the table that screening saw; the others are windows of the server's, by shares of the pixels.
  preset(number) {
    if (!this.painter) return;
    const { window, presets } = this.painter.pixels;
    const [centre, width] = number === 1 ? window : presets[number - 2];
    this.tone = { ...this.tone, table: number === 1, centre, width };
    this.draw();
  }

  // By steps of 1/400 of the window that the picture came with; a positive `down` is darker, however it is stored.
  adjust(across, down) {
    if (!this.painter) return;
    const { window, inverted, low, high } = this.painter.pixels;
    const step = Math.max(0.25, Math.min(window[1], 2 * (high - low + 1)) / 400);
    const width = Math.max(1, this.tone.width + across * step);
    const reach = 2 * Math.max(window[1], high - low + 1);
    const centre = this.tone.centre + (inverted ? -down : down) * step;
    this.tone = {
      ...this.tone,
      table: false,
      width: Math.min(2 * reach, width),
      centre: Math.min(high + reach, Math.max(low - reach, centre)),
    };
    this.draw();
  }

  invert() {
    this.tone = { ...this.tone, invert: !this.tone.invert };
    this.draw();
  }

  flip(side) {
    this.turn = { ...this.turn, [side]: !this.turn[side] };
    this.draw();
  }

  // Lying, a picture fits otherwise; what was enlarged keeps its size.
  rotate(by) {
    const turn = turned(this.turn, by);
    if (this.painter && this.shared.view.zoom !== 1) {
      const { size } = this.painter;
      this.shared.view.zoom *= fitted(size, this.box, this.turn) / fitted(size, this.box, turn);
    }
    this.turn = turn;
    this.shared.redraw();
  }

  // The point of the picture under a point of the stage.
  pointAt(at) {
    return applied(inverse(this.place), at);
  }

  // Many changes between two frames of the screen are drawn once.
  draw() {
    this.due ??= requestAnimationFrame(() => {
      this.due = undefined;
      this.paint();
    });
  }

  paint() {
    if (!this.painter || !this.box.width || !this.box.height) return;
    const ratio = devicePixelRatio;
    const [width, height] = [Math.round(this.box.width * ratio), Math.round(this.box.height * ratio)];
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
      this.canvas.style.width = `${width / ratio}px`;
      this.canvas.style.height = `${height / ratio}px`;
    }
    const { place } = this;
    // While all of the picture is seen, a finger on a small screen scrolls the page.
    this.stage.classList.toggle("whole", this.shared.view.zoom <= 1);
    this.painter.draw(this.tone, place, ratio);
    this.paintHeat(place);
    this.tell();
  }

  paintHeat({ a, b, c, d, e, f }) {
    const { heat, shared } = this;
    if (!heat) return;
    if (shared.heat && heat.dataset.make) this.askHeat();
    else if (shared.heat && heat.getAttribute("src") !== heat.dataset.src) heat.src = heat.dataset.src;
    heat.hidden = !shared.heat || Boolean(heat.dataset.make);
    const { width, height } = this.painter.size;
    heat.style.width = `${width}px`;
    heat.style.height = `${height}px`;
    heat.style.opacity = String(shared.opacity);
    heat.style.transform = `matrix(${a}, ${b}, ${c}, ${d}, ${e}, ${f})`;
  }

  // An answer from features has no map: a worker makes it when it is first asked for.
  async askHeat() {
    if (this.asking) return;
    this.asking = true;
    const { heat, root } = this;
    const said = root.querySelector(".making");
    said.textContent = gettext("The heat map is being made…");
    const made = await makeHeat(heat.dataset.make, heat.dataset.state, () => root.isConnected);
    this.asking = false;
    said.textContent = made.said;
    if (made.state === "made") delete heat.dataset.make;
    else if (made.state === "none") {
      heat.remove();
      this.heat = null;
    } else this.shared.heat = false;
    this.draw();
    this.changed();
  }

  tell() {
    const { tone, painter, root } = this;
    const about = tone.table && !painter.pixels.exact ? "≈ " : "";
    const whole = (value) => (Math.abs(value) < 10 ? Number(value.toFixed(1)) : Math.round(value));
    const zoom = Math.round(this.place.scale * devicePixelRatio * 100);
    const greys = tone.table ? gettext("as screened") + " · " : "";
    const levels = gettext("W %(width)s L %(level)s", { width: local(whole(tone.width)), level: local(whole(tone.centre)) });
    root.querySelector(".tone").textContent = `${greys}${about}${levels} · ${zoom} %`;
    const marks = [tone.invert && gettext("inverted"), mirrored(this.turn) && gettext("mirrored")];
    const quarter = seenQuarter(this.turn);
    if (quarter) marks.push(gettext("turned %(degrees)s°", { degrees: 90 * quarter }));
    root.querySelector(".marks").textContent = marks.filter(Boolean).join(" · ");
    root.dataset.centre = tone.centre;
    root.dataset.width = tone.width;
    this.tellValue();
    this.changed();
  }

  tellValue() {
    let said = "";
    if (this.pointer && this.painter?.pixels.samples) {
      const { x, y } = this.pointAt(this.pointer);
      const value = sampleAt(this.painter.pixels, x, y);
      if (value !== null) said = `${Math.floor(x)}, ${Math.floor(y)}: ${value}`;
    }
    this.root.querySelector(".value").textContent = said;
  }
}

export { START };
