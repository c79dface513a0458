// Pixels on a canvas by WebGL2, in two steps: samples to greys at full size, whenever a window changes; then the greys
// where the geometry lays them, with mipmaps for what is drawn smaller, whenever anything moves.
import { inverse } from "./viewer_geometry.js";

const CORNERS = `#version 300 es
void main() { gl_Position = vec4(vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4.0 - 1.0, 0.0, 1.0); }`;

// The table is what screening saw; the window is LINEAR of DICOM PS3.3 C.11.2.1.2.1.
const GREYS = `#version 300 es
precision highp float; precision highp int; precision highp usampler2D;
uniform usampler2D samples; uniform usampler2D tones;
uniform bool table, invert, inverted; uniform float sign, codes, centre, width;
out vec4 colour;
void main() {
  uint code = texelFetch(samples, ivec2(gl_FragCoord.xy), 0).r;
  float grey;
  if (table) grey = float(texelFetch(tones, ivec2(int(code & 255u), int(code >> 8)), 0).r);
  else {
    float value = float(code);
    if (value >= sign) value -= codes;
    if (width <= 1.0) grey = value > centre - 0.5 ? 255.0 : 0.0;
    else grey = floor(clamp((value - (centre - 0.5)) / (width - 1.0) + 0.5, 0.0, 1.0) * 255.0 + 0.5);
    if (inverted) grey = 255.0 - grey;
  }
  if (invert) grey = 255.0 - grey;
  colour = vec4(vec3(grey / 255.0), 1.0);
}`;

// Half a level sharper than the usual choice of mipmap: edges of ribs count for more than shimmer.
const SHOWN = `#version 300 es
precision highp float;
uniform sampler2D greys; uniform vec2 size, stage; uniform vec3 across, down; uniform bool exact;
out vec4 colour;
void main() {
  vec3 at = vec3(gl_FragCoord.x, stage.y - gl_FragCoord.y, 1.0);
  vec2 point = vec2(dot(across, at), dot(down, at));
  float grey = exact ? texelFetch(greys, ivec2(clamp(floor(point), vec2(0.0), size - 1.0)), 0).r
                     : texture(greys, point / size, -0.5).r;
  if (any(lessThan(point, vec2(0.0))) || any(greaterThanEqual(point, size))) grey = 0.0;
  colour = vec4(vec3(grey), 1.0);
}`;

export class GlPainter {
  // Throws where there is no WebGL2 or the picture is larger than a texture may be: the caller has another way.
  constructor(canvas, pixels) {
    this.canvas = canvas;
    this.pixels = pixels;
    // Kept after it was drawn: screenshots and prints are made from it later.
    this.gl = canvas.getContext("webgl2", { alpha: false, antialias: false, depth: false, preserveDrawingBuffer: true });
    if (!this.gl) throw new Error("no WebGL2");
    const most = this.gl.getParameter(this.gl.MAX_TEXTURE_SIZE);
    if (Math.max(pixels.width, pixels.height) > most) throw new Error("larger than a texture");
    this.build();
  }

  get size() {
    return { width: this.pixels.width, height: this.pixels.height };
  }

  // Also after the graphics card was taken away and given back.
  build() {
    const { gl, pixels } = this;
    this.toGreys = program(gl, GREYS);
    this.toStage = program(gl, SHOWN);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    const narrow = pixels.bits === 8;
    this.samples = texture(gl, gl.NEAREST);
    const [inner, type] = narrow ? [gl.R8UI, gl.UNSIGNED_BYTE] : [gl.R16UI, gl.UNSIGNED_SHORT];
    gl.texImage2D(gl.TEXTURE_2D, 0, inner, pixels.width, pixels.height, 0, gl.RED_INTEGER, type, pixels.samples);
    this.tones = texture(gl, gl.NEAREST);
    const rows = pixels.tones.length / 256;
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.R8UI, 256, rows, 0, gl.RED_INTEGER, gl.UNSIGNED_BYTE, pixels.tones);
    const levels = 1 + Math.floor(Math.log2(Math.max(pixels.width, pixels.height)));
    this.greys = texture(gl, gl.LINEAR, gl.LINEAR_MIPMAP_LINEAR);
    gl.texStorage2D(gl.TEXTURE_2D, levels, gl.R8, pixels.width, pixels.height);
    this.target = gl.createFramebuffer();
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.target);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, this.greys, 0);
    this.drawn = "";
  }

  // `tone` is { table, centre, width, invert }; `place` of viewer_geometry; `ratio` device pixels for a CSS pixel.
  draw(tone, place, ratio) {
    if (this.gl.isContextLost()) return;
    const wanted = JSON.stringify(tone);
    if (wanted !== this.drawn) this.window(tone);
    this.drawn = wanted;
    const { gl, canvas, toStage } = this;
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.useProgram(toStage.made);
    bind(gl, 0, this.greys);
    const back = inverse(place);
    gl.uniform1i(toStage.at("greys"), 0);
    gl.uniform2f(toStage.at("size"), this.pixels.width, this.pixels.height);
    gl.uniform2f(toStage.at("stage"), canvas.width, canvas.height);
    gl.uniform3f(toStage.at("across"), back.a / ratio, back.c / ratio, back.e);
    gl.uniform3f(toStage.at("down"), back.b / ratio, back.d / ratio, back.f);
    gl.uniform1i(toStage.at("exact"), Math.abs(place.scale * ratio - 1) < 1e-6 ? 1 : 0);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  window(tone) {
    const { gl, pixels, toGreys } = this;
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.target);
    gl.viewport(0, 0, pixels.width, pixels.height);
    gl.useProgram(toGreys.made);
    bind(gl, 0, this.samples);
    bind(gl, 1, this.tones);
    gl.uniform1i(toGreys.at("samples"), 0);
    gl.uniform1i(toGreys.at("tones"), 1);
    gl.uniform1i(toGreys.at("table"), tone.table ? 1 : 0);
    gl.uniform1i(toGreys.at("invert"), tone.invert ? 1 : 0);
    gl.uniform1i(toGreys.at("inverted"), pixels.inverted ? 1 : 0);
    const codes = 2 ** pixels.bits;
    gl.uniform1f(toGreys.at("sign"), pixels.signed ? codes / 2 : codes);
    gl.uniform1f(toGreys.at("codes"), codes);
    gl.uniform1f(toGreys.at("centre"), tone.centre);
    gl.uniform1f(toGreys.at("width"), tone.width);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    bind(gl, 0, this.greys);
    gl.generateMipmap(gl.TEXTURE_2D);
  }

  // The canvas, and with it the context, is used again by the next picture.
  free() {
    const { gl } = this;
    for (const held of [this.samples, this.tones, this.greys]) gl.deleteTexture(held);
    gl.deleteFramebuffer(this.target);
    for (const { made } of [this.toGreys, this.toStage]) gl.deleteProgram(made);
  }
}

function texture(gl, far, near = far) {
  const made = gl.createTexture();
  bind(gl, 0, made);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, far);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, near);
  for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, side, gl.CLAMP_TO_EDGE);
  return made;
}

function bind(gl, unit, held) {
  gl.activeTexture(gl.TEXTURE0 + unit);
  gl.bindTexture(gl.TEXTURE_2D, held);
}

function program(gl, source) {
  const made = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, CORNERS], [gl.FRAGMENT_SHADER, source]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(made, shader);
    gl.deleteShader(shader);
  }
  gl.linkProgram(made);
  if (!gl.isContextLost() && !gl.getProgramParameter(made, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(made));
  const places = new Map();
  const at = (name) => {
    if (!places.has(name)) places.set(name, gl.getUniformLocation(made, name));
    return places.get(name);
  };
  return { made, at };
}
