// Your own pictures: embedded in batches, kept in this tab's memory, laid out by expression.
import { info, postImages } from "./api.js";
import { EMOTIONS } from "./emotions.js";
import { keepPicture } from "./pictures.js";
import { shrink } from "./shrink.js";
import { emotionOf } from "./words.js";

const BATCH = 8;
const AT_ONCE = 2;
const SMALLER = { maxSide: 1024, smallBytes: 300_000 };
const RETRIES = 5;
const WAIT_MS = 1000;

const listeners = [];
export const own = { faces: [], pictures: 0, done: 0, skipped: [], busy: false };
let number = 0;

export function listenOwn(listener) {
  listeners.push(listener);
  listener();
}

function changed() {
  for (const listener of listeners) listener();
}

/** Embed pictures and add their faces; what cannot be used is listed with the reason. */
export async function addOwn(files) {
  const mine = number;
  own.pictures += files.length;
  own.busy = true;
  changed();
  const { limits } = await info();
  const size = Math.min(BATCH, limits.images);
  const waiting = [...files];
  const work = async () => {
    while (waiting.length && mine === number) {
      await addBatch(waiting.splice(0, size), mine);
      changed();
    }
  };
  try {
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  } finally {
    if (mine === number && own.done === own.pictures) {
      own.busy = false;
      changed();
    }
  }
}

async function addBatch(files, mine) {
  const pictures = await Promise.all(files.map((file) => shrink(file, SMALLER)));
  let answers;
  try {
    answers = await embed(pictures);
  } catch (problem) {
    answers = files.map(() => ({ problem: { type: problem.kind, detail: problem.message } }));
  }
  if (mine !== number) return;
  for (const [row, file] of files.entries()) {
    const { faces, problem } = answers[row];
    own.done += 1;
    if (problem) own.skipped.push({ file, problem: { kind: problem.type.replace("urn:mien:", ""), message: problem.detail } });
    else await keepFaces(file, pictures[row], faces);
  }
}

/** The answer for each picture; while the service is busy, it is asked again. */
async function embed(blobs, tries = RETRIES) {
  try {
    if (blobs.length > 1) return (await postImages("/embed", blobs)).images;
    return [await postImages("/embed", blobs)];
  } catch (problem) {
    if (tries > 0 && (problem.kind === "busy" || problem.kind === "rate")) {
      await new Promise((resolve) => setTimeout(resolve, WAIT_MS));
      return embed(blobs, tries - 1);
    }
    if (blobs.length > 1) return (await Promise.all(blobs.map((blob) => embed([blob], 0)))).flat();
    return [{ problem: { type: problem.kind, detail: problem.message } }];
  }
}

async function keepFaces(file, blob, faces) {
  const { number: place, picture } = await keepPicture(file, blob, faces);
  for (const [row, face] of faces.entries()) own.faces.push({ ...face, key: `${place}.${row}`, crop: picture.crops[row], path: file.webkitRelativePath || file.name });
}

/** Forget all; what is on its way is dropped. */
export function forgetOwn() {
  number += 1;
  Object.assign(own, { faces: [], pictures: 0, done: 0, skipped: [], busy: false });
  changed();
}

export const distance = (a, b) => Math.hypot(...a.map((value, row) => value - b[row]));

/** Faces by sub-class, in the order of the emotions: [[first face, faces], ...]. */
export function grouped(faces) {
  const groups = new Map();
  for (const face of faces) {
    const key = face.known ? (face.sub_class ?? face.emotion) : "";
    groups.set(key, [...(groups.get(key) ?? []), face]);
  }
  const order = (key) => (key ? EMOTIONS.indexOf(key.split("/")[0]) : EMOTIONS.length);
  return [...groups].sort(([a], [b]) => order(a) - order(b) || a.localeCompare(b, "en", { numeric: true })).map(([, group]) => [group[0], group.sort((a, b) => a.distance - b.distance)]);
}

/** Faces by how near they are to one of them, itself first: [[face, distance], ...]. */
export function byLikeness(faces, chosen) {
  return faces.map((face) => [face, distance(face.embedding, chosen.embedding)]).sort((a, b) => a[1] - b[1]);
}

export const emotionName = (face) => (face.known ? emotionOf(face) : "no known expression");
