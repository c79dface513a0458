// What the scripts say, in the language of the page: /words/<language>.js has laid the catalogue out before any module ran.
const words = window.words ?? {};
const rules = new Intl.PluralRules(document.documentElement.lang || "en");
const FORMS = { one: 0, few: 1, many: 2, other: 2 }; // as the catalogue orders them

const fill = (text, values) => text.replace(/%\((\w+)\)s/g, (place, name) => values[name] ?? place);

export function gettext(text, values = {}) {
  return fill(words[text]?.[0] || text, values);
}

// `values.num` is how the number is written, where it is not the bare one.
export function ngettext(one, more, count, values = {}) {
  const form = words[one]?.[FORMS[rules.select(count)]] || (count === 1 ? one : more);
  return fill(form, { num: count, ...values });
}
