// Numbers as the server writes them.
const UNITS = ["bytes", "kB", "MB", "GB", "TB", "PB"];

export function size(count) {
  let place = 0;
  while (count >= 1000 && place < UNITS.length - 1) {
    count /= 1000;
    place += 1;
  }
  return `${place === 0 ? count : Number(count.toPrecision(3))} ${UNITS[place]}`;
}

export function number(count) {
  return String(count).replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

export function duration(seconds) {
  const whole = Math.round(seconds);
  const two = (value) => String(value).padStart(2, "0");
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
}
