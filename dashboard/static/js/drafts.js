// What is begun on a case and not sent stays with this tab: neither a session that ended, nor another case, nor a reload
// takes a comment along. It is gone when the tab is closed, when its person signs out, or when another one signs in.
const PREFIX = "draft:";

// A browser may have its storage switched off; then nothing is kept.
function stored(act) {
  try {
    return act(sessionStorage);
  } catch {
    return null;
  }
}

function forgetAll(but) {
  stored((kept) => {
    for (const name of Object.keys(kept)) if (name.startsWith(PREFIX) && !(but && name.startsWith(but))) kept.removeItem(name);
  });
}

export const forgetDrafts = () => forgetAll("");

const ticked = (boxes) => boxes.filter((box) => box.checked).map((box) => box.value);

// `data-said` tells what this person has said of the case so far: when that changed, what was begun has been sent.
export function keepDraft(form, comment, boxes, note) {
  const { person, study, said } = form.dataset;
  const mine = `${PREFIX}${person}:`;
  forgetAll(mine);
  const begun = stored((kept) => JSON.parse(kept.getItem(mine + study)));
  if (begun?.said === said) {
    comment.value = begun.comment;
    for (const box of boxes) box.checked = begun.findings.includes(box.value);
    note.hidden = false;
  } else stored((kept) => kept.removeItem(mine + study));
  form.addEventListener("input", () => {
    const findings = ticked(boxes);
    const empty = !comment.value.trim() && !findings.length;
    const value = JSON.stringify({ said, comment: comment.value, findings });
    stored((kept) => (empty ? kept.removeItem(mine + study) : kept.setItem(mine + study, value)));
    note.hidden = true;
  });
}
