// Photographs of your gallery, if thumbnails are kept: they replace portraits.
import { askJson } from "./api.js";
import { make } from "./dom.js";
import { gallery } from "./gallery.js";

const KEPT = 600;
const known = new Map();

/** Replace the portrait of a face by its photograph, if there is one. */
export async function showPhotograph(canvas, id) {
  if (!(await gallery()).owned) return;
  if (!known.has(id)) {
    if (known.size >= KEPT) known.delete(known.keys().next().value);
    known.set(id, askJson(`/gallery/${encodeURIComponent(id)}`).then((face) => face.thumbnail).catch(() => null));
  }
  const thumbnail = await known.get(id);
  if (!thumbnail) return;
  const picture = make("img", { class: "portrait painted photograph", alt: "", src: `data:image/png;base64,${thumbnail}` });
  canvas.replaceWith(make("span", { class: "photograph-frame" }, picture, make("span", { class: "photograph-mark" }, "photo")));
}
