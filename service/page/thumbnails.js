// Photographs of the gallery: the thumbnails of all faces that are shown, with one request.
import { askJson, postJson } from "./api.js";
import { make } from "./dom.js";
import { sourcesOf } from "./words.js";

const AT_ONCE = 200;
const KEPT = 3000;
const known = new Map(); // id to the address of its picture; null where the gallery keeps none
let waiting = null;

/** The address of a face's photograph, or null where there is none. */
export async function photographOf(id) {
  if (!known.has(id)) {
    waiting ??= { ids: new Set(), fetched: new Promise((resolve) => setTimeout(() => resolve(flush()), 0)) };
    waiting.ids.add(id);
    await waiting.fetched;
  }
  return known.get(id) ?? null;
}

/** Where the photograph of a face comes from; nothing where there is none. */
export async function sourceOf(id) {
  return (await photographOf(id)) ? sourcesOf([await askJson(`/gallery/${encodeURIComponent(id)}`)]).join() : "";
}

async function flush() {
  const ids = [...waiting.ids];
  waiting = null;
  for (let start = 0; start < ids.length; start += AT_ONCE) {
    const batch = ids.slice(start, start + AT_ONCE);
    const { thumbnails } = await (await postJson("/thumbnails", { ids: batch })).json().catch(() => ({ thumbnails: {} }));
    for (const id of batch) keep(id, thumbnails[id]);
  }
}

function keep(id, base64) {
  const bytes = base64 && Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  known.set(id, bytes ? URL.createObjectURL(new Blob([bytes])) : null);
  if (known.size <= KEPT) return;
  const [oldest, address] = known.entries().next().value;
  if (address) URL.revokeObjectURL(address);
  known.delete(oldest);
}

/** A face's photograph has changed or is gone. */
export const forgetPhotograph = (id) => known.delete(id);

/** A square that shows the photograph of a face as soon as it is there, and an outline where there is none. */
export function photograph(id, label = "") {
  const frame = make("span", { class: "photograph" });
  const spoken = label ? { alt: label } : { alt: "" };
  photographOf(id).then(
    (address) => {
      if (address) frame.replaceChildren(make("img", { src: address, ...spoken }));
      else frame.classList.add("none");
      frame.classList.add("loaded");
    },
    () => frame.classList.add("none", "loaded"),
  );
  return frame;
}
