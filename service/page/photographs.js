// Photographs of the owner's gallery, where thumbnails were kept: they are shown in place of portraits.
import { askJson } from "./api.js";
import { make } from "./dom.js";

const KEPT = 600;
const known = new Map();
let owned = null;

/** Whether the gallery is somebody's own; the one that ships has no photographs. */
function isOwned() {
  owned ??= askJson("/gallery?limit=1").then((page) => !page.read_only).catch(() => false);
  return owned;
}

/** Put the photograph of a face, if there is one, in the place of its portrait. */
export async function showPhotograph(canvas, id) {
  if (!(await isOwned())) return;
  if (!known.has(id)) {
    if (known.size >= KEPT) known.delete(known.keys().next().value);
    known.set(id, askJson(`/gallery/${encodeURIComponent(id)}`).then((face) => face.thumbnail).catch(() => null));
  }
  const thumbnail = await known.get(id);
  if (!thumbnail) return;
  const picture = make("img", { class: "portrait painted photograph", alt: "", src: `data:image/jpeg;base64,${thumbnail}` });
  canvas.replaceWith(make("span", { class: "photograph-frame" }, picture, make("span", { class: "photograph-mark" }, "photo")));
}
