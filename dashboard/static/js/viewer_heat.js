// A heat map that is not stored: ask for it, and wait until a worker has made it.
import { gettext } from "./words.js";

const SECOND = 1000;
const PAUSE = SECOND / 2;

// { state, said }: "made", "none" where the model makes no maps, or "late" with a sentence. `wanted` tells whether
// anybody still waits.
export async function makeHeat(make, state, wanted) {
  const late = (said) => ({ state: "late", said });
  try {
    const token = document.querySelector("input[name=csrf_token]").value;
    const asked = await fetch(make, { method: "POST", headers: { Accept: "application/json", "X-CSRFToken": token } });
    const told = await asked.json();
    if (!asked.ok) return late(told.error);
    const until = Date.now() + told.seconds * SECOND;
    while (wanted() && Date.now() < until) {
      const answer = await fetch(state, { headers: { Accept: "application/json" } });
      const found = await answer.json();
      if (found.state === "made") return { state: "made", said: "" };
      if (found.state === "none") return { state: "none", said: gettext("There is no heat map of this image") };
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
  } catch {
    return late(gettext("The server does not answer; ask for the heat map again."));
  }
  return late(gettext("No worker made the heat map in time; ask for it again."));
}
