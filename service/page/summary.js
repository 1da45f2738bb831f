// The nearest rated faces as a summary: by sub-class, how many and how people voted. A class opens into its faces.
import { make } from "./dom.js";
import { colour, dot, inWords, meanVotes, voteBar } from "./emotions.js";
import { portrait } from "./portraits.js";
import { addressOf } from "./route.js";
import { compare } from "./why.js";
import { nameOf, plural } from "./words.js";

/** Faces by sub-class, the largest group first. */
function groups(matches) {
  const byClass = new Map();
  for (const match of matches) {
    const key = match.sub_class ?? match.emotion;
    byClass.set(key, [...(byClass.get(key) ?? []), match]);
  }
  return [...byClass].sort((a, b) => b[1].length - a[1].length);
}

/** The section about the rated faces; null where there are none. */
export function summary({ matches }, view) {
  if (!matches.length) return null;
  return make(
    "section",
    { class: "summary", "aria-label": "Nearest rated faces" },
    make("h2", {}, `The nearest ${matches.length} of FER+`),
    make("p", { class: "hint" }, "FER+ has no photographs to show: its faces are points, each with the votes of ten people. The small pictures are averages of a whole class, nobody's face."),
    make("div", { class: "groups" }, groups(matches).map(([key, faces]) => group(key, faces, matches.length, view))),
  );
}

function group(key, faces, all, view) {
  const [first] = faces;
  const emotion = key.split("/")[0];
  const votes = meanVotes(faces);
  const details = make(
    "details",
    { class: "group", vars: { "--colour": colour(emotion), "--share": faces.length / all } },
    make(
      "summary",
      {},
      portrait(first.sub_class ? { sub_class: key } : { emotion: key }, "", "small"),
      make(
        "span",
        { class: "group-words" },
        make("strong", {}, nameOf({ ...first, emotion })),
        make("span", { class: "group-count" }, `${faces.length} of ${all}`),
        make("span", { class: "share", "aria-hidden": "true" }),
        make("span", { class: "hint" }, Object.keys(votes).length ? `People voted ${inWords(votes)}` : "No votes"),
      ),
    ),
  );
  details.addEventListener("toggle", () => details.open && details.childElementCount === 1 && details.append(list(faces, view)));
  return details;
}

function list(faces, view) {
  return make(
    "ol",
    { class: "rated", "aria-label": plural(faces.length, "face") },
    faces.map((face) =>
      make(
        "li",
        {},
        dot(face.emotion),
        make("a", { href: addressOf(view, { id: face.id }), "aria-label": `More like ${face.id}` }, face.id),
        face.metadata.votes ? voteBar(face.metadata.votes) : make("span"),
        make("span", { class: "number" }, face.distance.toFixed(2)),
        make("button", { type: "button", class: "plain", "aria-label": `Why is ${face.id} near?`, onclick: () => compare(face) }, "Why?"),
      ),
    ),
  );
}
