// Adding faces to the gallery, in batches; what cannot be added is skipped with its reason.
import { askJson, forgetInfo, info } from "./api.js";
import { shrink } from "./shrink.js";

const SKIPPED = new Set(["no-face", "unsupported-image", "broken-image", "empty-image", "image-too-large", "body-too-large", "face-conflict"]);
const SHARE_OF_BODY = 0.9; // the rest is for the fields around the pictures

/**
 * Add faces: [{ file, item, blob }], of which `item` has the fields; a file without a `blob` is scaled down if it is large.
 * `parameters` are those of POST /gallery: which faces of a picture, whether thumbnails are kept. Resolves to { added, unchanged, skipped: [{ file, problem }] }; `onProgress` gets how many are done.
 */
export async function addToGallery(entries, onProgress, parameters) {
  const { limits } = await info();
  const count = { added: 0, unchanged: 0, skipped: [] };
  const waiting = entries.map((entry) => ({ ...entry })); // what is scaled down is forgotten once it is sent
  let done = 0;
  while (waiting.length) {
    const batch = [];
    let bytes = 0;
    while (waiting.length && batch.length < limits.images) {
      const [next] = waiting;
      next.blob ??= await shrink(next.file);
      bytes += next.blob.size;
      if (batch.length && bytes > SHARE_OF_BODY * limits.body_bytes) break;
      batch.push(waiting.shift());
    }
    const [{ blob, file }] = batch;
    if (blob.size > limits.body_bytes) count.skipped.push({ file, problem: { kind: "body-too-large" } });
    else await add(batch, count, new URLSearchParams(parameters));
    onProgress((done += batch.length));
  }
  forgetInfo();
  return count;
}

/** A request adds all of its faces or none: where one is refused, each is added by itself. */
async function add(batch, count, parameters) {
  const form = new FormData();
  for (const { blob } of batch) form.append("images", blob, "picture");
  form.append("items", JSON.stringify(batch.map(({ item }) => item)));
  try {
    const answer = await askJson(`/gallery?${parameters}`, { method: "POST", body: form });
    count.added += answer.added;
    count.unchanged += answer.unchanged;
  } catch (problem) {
    if (!SKIPPED.has(problem.kind)) throw problem;
    if (batch.length === 1) count.skipped.push({ file: batch[0].file, problem });
    else for (const each of batch) await add([each], count, parameters);
  }
}

export const READ_ONLY = "This service serves the gallery that ships with mien, and writes nothing. Start it with a folder of your own (MIEN_GALLERY=faces mien serve) to keep faces.";
