// Forms: those that cannot be taken back ask first, none is sent twice, and signing out leaves nothing behind.
import { forgetDrafts } from "./drafts.js";

// A second click, or a key that is pressed twice, is no second verdict and no second job; after a while it is a new try,
// for a line may break.
const TWICE = 10_000; // ms

document.addEventListener("submit", (event) => {
  const form = event.target;
  const question = form.dataset?.confirm;
  if (event.defaultPrevented) return;
  const soon = form.method === "post" && performance.now() - Number(form.dataset.sent ?? -TWICE) < TWICE;
  if (soon || (question && !window.confirm(question))) {
    event.preventDefault();
    return;
  }
  form.dataset.sent = performance.now();
  if (event.submitter?.id === "sign-out") forgetDrafts();
});
// A page that comes back as it was left has sent nothing.
window.addEventListener("pageshow", () => {
  for (const form of document.forms) delete form.dataset.sent;
});
