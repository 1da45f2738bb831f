// The query picture (dropped, pasted, chosen or taken), its faces, and why they have their emotions.
import { postImage } from "./api.js";
import { find, make, say, sentence, whileWorking } from "./dom.js";
import { bars, colour, percent } from "./emotions.js";
import { watch } from "./live.js";
import { clear, search } from "./state.js";
import { explain } from "./why.js";

const ADVICE = {
  "no-face": "Try a picture in which a face is larger and looks at the camera.",
  "image-too-large": "Make it smaller, then try again.",
  "body-too-large": "Make it smaller, then try again.",
  unreachable: "",
};
const current = { blob: null, faces: [], cropped: false, chosen: -1, url: null, number: 0 };

export function startPictures() {
  const drop = find("drop");
  const input = find("file");
  find("choose").onclick = () => input.click();
  find("another").onclick = reset;
  input.onchange = () => input.files[0] && look(input.files[0]);
  for (const target of [document]) {
    target.addEventListener("dragover", (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
    target.addEventListener("dragleave", (event) => event.relatedTarget ?? drop.classList.remove("over"));
    target.addEventListener("drop", (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      const file = event.dataTransfer?.files[0];
      if (file) look(file);
    });
  }
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])][0];
    if (file) look(file);
  });
  startCamera();
}

function reset() {
  current.blob = null;
  current.number += 1;
  find("file").value = "";
  find("stage").hidden = true;
  find("drop").hidden = false;
  find("problem").hidden = true;
  find("faces").replaceChildren();
  clear();
  find("choose").focus();
}

/** Send a picture: shows boxes and bars, then searches from its largest face. */
export async function look(blob, { cropped = false } = {}) {
  if (location.hash && !location.hash.startsWith("#/search")) location.hash = "#/search";
  stopCamera();
  const number = (current.number += 1);
  Object.assign(current, { blob, cropped, faces: [], chosen: -1 });
  if (current.url) URL.revokeObjectURL(current.url);
  current.url = URL.createObjectURL(blob);
  find("picture").src = current.url;
  find("picture").hidden = false;
  find("drop").hidden = true;
  find("stage").hidden = false;
  find("problem").hidden = true;
  find("boxes").replaceChildren();
  find("faces").replaceChildren();
  find("stage-words").textContent = "Looking for faces…";
  say("Looking for faces");
  clear();
  const options = `already_cropped=${cropped}`;
  try {
    const [classified, embedded] = await whileWorking(
      Promise.all([postImage(`/classify?${options}`, blob), postImage(`/embed?${options}`, blob)]),
    );
    if (number !== current.number) return;
    current.faces = classified.faces.map((face, row) => ({ ...face, embedding: embedded.faces[row].embedding }));
    await find("picture").decode().catch(() => {});
    showFaces();
    choose(0);
  } catch (problem) {
    if (number === current.number) showProblem(problem);
  }
}

function showProblem(problem) {
  find("stage-words").textContent = "";
  const noFace = problem.kind === "no-face";
  if (!noFace) {
    find("stage").hidden = true;
    find("drop").hidden = false;
  }
  find("problem").replaceChildren(
    make("h2", {}, noFace ? "No face was found" : "That picture did not work"),
    make("p", {}, sentence(problem.message)),
    ADVICE[problem.kind] ? make("p", {}, ADVICE[problem.kind]) : "",
    noFace ? make("div", { class: "row" }, make("button", { type: "button", onclick: () => look(current.blob, { cropped: true }) }, "The whole picture is one face"), make("button", { type: "button", class: "quiet", onclick: reset }, "Another picture")) : "",
  );
  find("problem").hidden = false;
}

function showFaces() {
  const picture = find("picture");
  const { naturalWidth: width, naturalHeight: height } = picture;
  const count = current.faces.length;
  find("stage-words").textContent = count === 1 ? "1 face" : `${count} faces`;
  say(`${count} found`);
  find("boxes").replaceChildren(
    ...current.faces.map((face, row) => {
      const [x, y, w, h] = face.box;
      return make(
        "button",
        {
          type: "button",
          class: "box",
          "aria-pressed": "false",
          "aria-label": `Face ${row + 1}: ${face.emotion}`,
          vars: { "--x": x / width, "--y": y / height, "--w": w / width, "--h": h / height, "--colour": colour(face.emotion) },
          onclick: () => choose(row),
        },
        make("span", { class: "box-name" }, face.known ? face.emotion : "no known expression"),
      );
    }),
  );
}

/** Search for the expressions nearest to one face of the picture. */
function choose(row) {
  current.chosen = row;
  const face = current.faces[row];
  [...find("boxes").children].forEach((box, place) => box.setAttribute("aria-pressed", String(place === row)));
  find("faces").replaceChildren(card(face, row));
  if (location.hash !== "#/search") history.pushState(null, "", "#/search"); // leave the address of the previous search
  search({ embedding: face.embedding }, { title: current.faces.length > 1 ? `face ${row + 1}` : "this face", source: sourceOf(row) });
}

/** What `/explain` needs to find a face of the picture again. */
const sourceOf = (row) => ({ blob: current.blob, row, cropped: current.cropped });

function card(face, row) {
  const why = make("div", { class: "why" });
  return make(
    "article",
    { class: "face-card", "aria-label": `Face ${row + 1}` },
    make(
      "div",
      { class: "row between" },
      make("h2", { class: "face-emotion", vars: { "--colour": colour(face.emotion) } }, face.known ? face.emotion : "no known expression"),
      make("button", { type: "button", onclick: (event) => explain(sourceOf(row), why, event.currentTarget) }, "Why?"),
    ),
    face.known && face.sub_class ? make("p", { class: "hint" }, `More closely: ${face.sub_class_name ?? face.sub_class}`) : null,
    bars(face.posterior),
    make(
      "p",
      { class: "typical" },
      make("span", { class: "meter", "aria-hidden": "true", vars: { "--share": face.typicality } }),
      face.known
        ? `More typical of the known expressions than ${percent(face.typicality)} of faces.`
        : "Hardly any face is less typical of the known expressions: the emotion means little here.",
    ),
    why,
  );
}

let stream = null;
let unwatch = null;

function startCamera() {
  find("webcam").onclick = async () => {
    if (!navigator.mediaDevices) return showProblem({ kind: "", message: "the camera needs an address that starts with https, or this machine itself" });
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user", width: { ideal: 1280 } } });
    } catch {
      return showProblem({ kind: "", message: "the camera cannot be used: it is busy, missing, or not allowed for this page" });
    }
    find("problem").hidden = true;
    find("video").srcObject = stream;
    await find("video").play();
    find("drop").hidden = true;
    find("camera").hidden = false;
    find("shoot").focus();
    unwatch = watch(find("video"), find("camera-boxes"));
  };
  find("camera-stop").onclick = () => {
    stopCamera();
    find("drop").hidden = false;
    find("webcam").focus();
  };
  find("shoot").onclick = () => {
    const video = find("video");
    const canvas = make("canvas", { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => look(blob), "image/jpeg", 0.92);
  };
}

function stopCamera() {
  unwatch?.();
  unwatch = null;
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
  find("camera").hidden = true;
}
