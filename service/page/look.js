// Pictures that are dropped, pasted or chosen: one is searched with, several become your own pictures.
import { find, make, whileWorking } from "./dom.js";
import { addPicture } from "./pictures.js";
import { addressOf } from "./route.js";
import { clear, setPending } from "./state.js";
import { problemWords } from "./words.js";

let running = null;

/** Send a picture, then go to its largest face. */
export async function look(file, { cropped = false } = {}) {
  running?.abort();
  const { signal } = (running = new AbortController());
  clear();
  find("problem").hidden = true;
  if (!location.hash.startsWith("#/search")) location.hash = "#/search";
  try {
    const onReady = (url) => signal.aborted || setPending({ url });
    const number = await whileWorking(addPicture(file, { cropped, onReady, signal }));
    if (signal.aborted) return;
    setPending(null);
    location.hash = addressOf("search", { picture: `${number}.0` });
  } catch (problem) {
    if (signal.aborted || problem.name === "AbortError") return;
    setPending(null);
    showProblem(problem, file);
  }
}

/** Stop what is on its way. */
export function stopLooking() {
  running?.abort();
  setPending(null);
}

export function showProblem(problem, file) {
  const noFace = problem.kind === "no-face";
  find("problem").replaceChildren(
    make("h2", {}, noFace ? "No face was found" : "That picture did not work"),
    make("p", {}, problemWords(problem, file)),
    noFace && file ? make("div", { class: "row" }, make("button", { type: "button", onclick: () => look(file, { cropped: true }) }, "The whole picture is one face")) : "",
  );
  find("problem").hidden = false;
  scrollTo(0, 0);
}

/** Files that are dropped or pasted anywhere on the page, or chosen; `take` gets a list of them. */
export function takeFiles(take) {
  const over = (on) => document.body.classList.toggle("dropping", on);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    over(true);
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget ?? over(false));
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    over(false);
    const files = await filesOf(event.dataTransfer);
    if (files.length) take(files);
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) take(files);
  });
  for (const id of ["file", "folder"]) {
    const input = find(id);
    input.onchange = () => {
      const files = [...input.files];
      input.value = "";
      if (files.length) take(files);
    };
  }
}

/** The files of a drop; those of a folder too, with their paths. */
async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  return (await Promise.all(entries.map(filesIn))).flat().filter((file) => /^image\//.test(file.type) || /\.(heic|heif|tiff?)$/i.test(file.name));
}

async function filesIn(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // at most 100 at a time
    if (!some.length) break;
    found.push(...some);
  }
  return (await Promise.all(found.map(filesIn))).flat();
}
