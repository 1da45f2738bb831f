// The start: some photographs of the gallery to try with one click, and the emotions.
import { askJson } from "./api.js";
import { find, make } from "./dom.js";
import { dot, EMOTIONS } from "./emotions.js";
import { addressOf } from "./route.js";
import { PHOTOGRAPHED } from "./state.js";
import { photograph } from "./thumbnails.js";
import { nameOf } from "./words.js";

const TRIED = 8;
let shown = false;

/** Offer photographs to try; once, as long as it worked. */
export async function showStart() {
  find("starters").replaceChildren(...EMOTIONS.map((emotion) => make("a", { class: "chip", href: addressOf("search", { emotion }) }, dot(emotion), emotion)));
  if (shown) return;
  shown = true;
  try {
    const filter = encodeURIComponent(JSON.stringify(PHOTOGRAPHED));
    const { faces } = await askJson(`/gallery?limit=200&statistics=false&filter=${filter}`);
    const chosen = varied(faces, TRIED);
    find("tries").hidden = chosen.length === 0;
    find("try-list").replaceChildren(...chosen.map(tried));
    const sources = [...new Set(chosen.map(({ metadata }) => [metadata.source, metadata.attribution].filter(Boolean).join(", ")))].filter(Boolean);
    find("try-sources").textContent = sources.length ? `Photographs: ${sources.join("; ")}.` : "";
  } catch {
    shown = false;
  }
}

function tried(face) {
  return make("li", {}, make("a", { class: "try", href: addressOf("search", { id: face.id }), title: face.metadata.caption ?? face.id }, photograph(face.id), make("span", {}, dot(face.emotion), face.emotion), make("span", { class: "visually-hidden" }, `: search with ${face.metadata.caption ?? nameOf(face)}`)));
}

/** Faces of as many emotions, sources and people as there are, in turn. */
function varied(faces, count) {
  const groups = faces.reduce((map, face) => map.set(face.emotion, [...(map.get(face.emotion) ?? []), face]), new Map());
  const chosen = [];
  const people = new Set();
  const spread = (group) => group.filter((_, place) => place % Math.max(1, Math.floor(group.length / count)) === 0);
  const queues = [...groups.values()].map((group) => [...spread(group), ...group]);
  while (chosen.length < count && queues.some((queue) => queue.length)) {
    for (const queue of queues) {
      let face;
      do face = queue.shift();
      while (face && (chosen.includes(face) || (face.subject && people.has(face.subject))));
      if (face && chosen.length < count) {
        chosen.push(face);
        people.add(face.subject);
      }
    }
  }
  return chosen;
}
