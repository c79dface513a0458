// Numbers as the server writes them.
import { gettext } from "./words.js";

const POINT = document.documentElement.lang === "ru" ? "," : ".";

// A number as JavaScript writes it, in the language of the page.
export function local(written) {
  return String(written).replace(".", POINT).replace("-", "\u2212");
}

export function decimal(value, places) {
  return local(value.toFixed(places));
}

const UNITS = [gettext("bytes"), gettext("kB"), gettext("MB"), gettext("GB"), gettext("TB"), gettext("PB")];

export function size(count) {
  let place = 0;
  while (count >= 1000 && place < UNITS.length - 1) {
    count /= 1000;
    place += 1;
  }
  return `${place === 0 ? count : local(Number(count.toPrecision(3)))} ${UNITS[place]}`;
}

export function number(count) {
  return String(count).replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

export function duration(seconds) {
  const whole = Math.round(seconds);
  const two = (value) => String(value).padStart(2, "0");
  if (whole < 60) return gettext("%(seconds)s s", { seconds: whole });
  if (whole < 3600) return gettext("%(minutes)s min %(seconds)s s", { minutes: Math.floor(whole / 60), seconds: two(whole % 60) });
  return gettext("%(hours)s h %(minutes)s min", { hours: Math.floor(whole / 3600), minutes: two(Math.floor((whole % 3600) / 60)) });
}
