// The start: some photographs of the gallery to try with one click, and the emotions.
import { askJson } from "./api.js";
import { find, make } from "./dom.js";
import { dot, EMOTIONS } from "./emotions.js";
import { addressOf } from "./route.js";
import { PHOTOGRAPHED } from "./state.js";
import { photograph } from "./thumbnails.js";
import { creditsOf, nameOf, sourcesOf, tooltipOf } from "./words.js";

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
    find("try-sources").textContent = creditsOf(chosen);
  } catch {
    shown = false;
  }
}

function tried(face) {
  return make("li", {}, make("a", { class: "try", href: addressOf("search", { id: face.id }), title: tooltipOf(face) }, photograph(face.id), make("span", {}, dot(face.emotion), face.emotion), make("span", { class: "visually-hidden" }, `: search with ${face.metadata.caption ?? nameOf(face)}`)));
}

/** Faces of as many emotions, sources and people as there are, in turn; first those whose owner agrees with the mixture. */
function varied(faces, count) {
  const sure = (face) => (face.label ? (face.label === face.emotion ? 0 : 2) : 1);
  const used = { emotion: {}, source: {}, person: {} };
  const keys = (face) => ({ emotion: face.emotion, source: sourcesOf([face])[0], person: face.subject ?? face.id });
  const seen = (face, kind) => used[kind][keys(face)[kind]] ?? 0;
  const chosen = [];
  const waiting = new Set(faces);
  while (chosen.length < count && waiting.size) {
    const cost = (face) => 100 * seen(face, "person") + 10 * seen(face, "emotion") + 4 * seen(face, "source") + 3 * sure(face);
    const [next] = [...waiting].sort((a, b) => cost(a) - cost(b));
    waiting.delete(next);
    chosen.push(next);
    for (const [kind, key] of Object.entries(keys(next))) used[kind][key] = seen(next, kind) + 1;
  }
  return chosen;
}
