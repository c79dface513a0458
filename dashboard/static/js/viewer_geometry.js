// Where a picture lies on its stage. Picture points are in pixels from its upper left corner, stage points in CSS
// pixels; a turn is one of the eight ways to lay a rectangle: a rotation by quarters, then mirrored as seen.
export const START = { zoom: 1, u: 0.5, v: 0.5 };
export const UPRIGHT = { quarter: 0, across: false, down: false };
export const MOST = 32;
export const LEAST = 0.5;

const COSINE = [1, 0, -1, 0];
const SINE = [0, 1, 0, -1];

export function turned(turn, by) {
  // Mirrored once, the picture turns the other way for the turn to look the same.
  const way = turn.across === turn.down ? by : -by;
  return { ...turn, quarter: (turn.quarter + way + 4) % 4 };
}

export function mirrored(turn) {
  return turn.across !== turn.down;
}

// How far a picture is turned to the right once it was, or was not, mirrored left and right: what a reader sees.
export function seenQuarter({ quarter, across, down }) {
  return ((across !== down ? -quarter : quarter) + (down ? 2 : 0) + 4) % 4;
}

function linear({ quarter, across, down }) {
  const c = COSINE[quarter];
  const s = SINE[quarter];
  const x = across ? -1 : 1;
  const y = down ? -1 : 1;
  return { a: x * c, b: y * s, c: x * -s, d: y * c };
}

// CSS pixels for a picture pixel where the whole picture just fits.
export function fitted(size, stage, turn) {
  const lying = turn.quarter % 2 === 1;
  const width = lying ? size.height : size.width;
  const height = lying ? size.width : size.height;
  return Math.min(stage.width / width, stage.height / height);
}

// { a b c d e f } as of CSS matrix(): from picture points to stage points. `view` says which point of the picture, in
// shares of its sides, lies in the middle, and how much larger than fitting it is; so two pictures of different sizes
// can share one. At one device pixel for a picture pixel the two grids are laid upon each other: nothing is blurred.
export function placed(size, stage, view, turn, ratio) {
  const scale = fitted(size, stage, turn) * view.zoom;
  const m = linear(turn);
  const [a, b, c, d] = [m.a * scale, m.b * scale, m.c * scale, m.d * scale];
  const x = view.u * size.width;
  const y = view.v * size.height;
  let e = stage.width / 2 - (a * x + c * y);
  let f = stage.height / 2 - (b * x + d * y);
  if (Math.abs(scale * ratio - 1) < 1e-6) {
    e = Math.round(e * ratio) / ratio;
    f = Math.round(f * ratio) / ratio;
  }
  return { a, b, c, d, e, f, scale };
}

export function inverse({ a, b, c, d, e, f }) {
  const whole = a * d - b * c;
  return {
    a: d / whole,
    b: -b / whole,
    c: -c / whole,
    d: a / whole,
    e: (c * f - d * e) / whole,
    f: (b * e - a * f) / whole,
  };
}

export function applied(m, { x, y }) {
  return { x: m.a * x + m.c * y + m.e, y: m.b * x + m.d * y + m.f };
}

const share = (value) => Math.min(1, Math.max(0, value));

// The view that shows `point` of the picture at `at` of the stage, at that zoom.
export function viewWith(size, stage, turn, zoom, point, at) {
  const scale = fitted(size, stage, turn) * zoom;
  const m = linear(turn);
  // A turn is its own transposed inverse.
  const dx = (at.x - stage.width / 2) / scale;
  const dy = (at.y - stage.height / 2) / scale;
  return {
    zoom,
    u: share((point.x - (m.a * dx + m.b * dy)) / size.width),
    v: share((point.y - (m.c * dx + m.d * dy)) / size.height),
  };
}
