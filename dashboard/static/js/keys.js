// Keys as people mean them, whatever letters their keyboard is set to.

// Letters by their place where the layout has others there (Cyrillic, Greek): a reader's hands know places.
export function keyOf(event) {
  const key = event.key.toLowerCase();
  if (key.length !== 1 || key.codePointAt(0) < 128) return key;
  return /^Key[A-Z]$/.test(event.code) ? event.code.slice(3).toLowerCase() : key;
}

// Ctrl Z, or Command Z; in a text that is being written it belongs to the text.
export function isUndo(event) {
  if (!(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey || event.repeat) return false;
  return keyOf(event) === "z" && !event.target.matches("input[type=text], input[type=search], textarea");
}
