// What a person drops or chooses, as [File, name with its folders] pairs.
import { gettext } from "./words.js";

// A dropped folder is walked; the browser hands out its entries a hundred at a time.
async function walk(entry, path) {
  const name = path ? `${path}/${entry.name}` : entry.name;
  if (entry.isFile) {
    return [[await new Promise((resolve, reject) => entry.file(resolve, reject)), name]];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return found;
    for (const child of some) found.push(...(await walk(child, name)));
  }
}

export function whenChosen({ drop, files, folder, busy, chosen, failed }) {
  for (const input of [files, folder]) {
    input.addEventListener("change", () => {
      (input === files ? folder : files).value = "";
      chosen([...input.files].map((file) => [file, file.webkitRelativePath || file.name]));
    });
  }
  for (const kind of ["dragenter", "dragover"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  drop.addEventListener("dragleave", (event) => {
    if (!drop.contains(event.relatedTarget)) drop.classList.remove("over");
  });
  drop.addEventListener("drop", async (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (busy()) return;
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    files.value = "";
    folder.value = "";
    try {
      const found = [];
      for (const entry of entries) found.push(...(await walk(entry, "")));
      chosen(found);
    } catch {
      failed(gettext("The browser could not read what was dropped; choose the files instead."));
    }
  });
}
