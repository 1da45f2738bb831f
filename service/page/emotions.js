// The emotions: names, colours and bars.
import { make } from "./dom.js";

const WITH_COLOUR = ["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"];
const OWN_COLOURS = 6;

/** The emotions of the bundle; until the service has said which, those of FER+. */
export let EMOTIONS = WITH_COLOUR;

/** Take the emotions of the bundle; says whether they are others than before. */
export function takeEmotions(names) {
  const differ = names.join() !== EMOTIONS.join();
  EMOTIONS = names;
  return differ;
}

/** The name of an emotion's colour in the style; the emotions of one's own take turns. */
function colourName(emotion) {
  if (WITH_COLOUR.includes(emotion)) return emotion;
  const place = EMOTIONS.filter((name) => !WITH_COLOUR.includes(name)).indexOf(emotion);
  return place < 0 ? "other" : `own-${(place % OWN_COLOURS) + 1}`;
}

const OTHER_VOTES = { unknown: "unsure", NF: "no face" };

export const percent = (share) => {
  const rounded = Math.round(share * 100);
  return rounded === 0 && share > 0 ? "<1 %" : `${rounded} %`;
};

export const shown = (id) => OTHER_VOTES[id] ?? id;

export const colour = (emotion) => `var(--${colourName(emotion)})`;

const painted = new Map();
document.addEventListener("mien-theme", () => painted.clear());

/** A colour as a canvas takes it, of an emotion or by its name in the style; read once for each theme. */
export function paint(name) {
  const variable = EMOTIONS.includes(name) ? colourName(name) : name;
  if (!painted.has(variable)) painted.set(variable, getComputedStyle(document.documentElement).getPropertyValue(`--${variable}`).trim());
  return painted.get(variable);
}

export function dot(emotion) {
  return make("span", { class: "dot", vars: { "--colour": colour(emotion) }, "aria-hidden": "true" });
}

/** One bar for each share, largest first. */
export function bars(shares, { most = 8, label = "How people would be expected to vote" } = {}) {
  const rows = Object.entries(shares)
    .sort((a, b) => b[1] - a[1])
    .slice(0, most);
  return make(
    "dl",
    { class: "bars", "aria-label": label },
    rows.map(([name, share]) =>
      make(
        "div",
        { vars: { "--share": share, "--colour": colour(name) } },
        make("dt", {}, shown(name)),
        make("dd", {}, make("span", { class: "bar", "aria-hidden": "true" }), make("span", { class: "number" }, percent(share))),
      ),
    ),
  );
}

/** The votes of raters as one bar in parts, with words for screen readers. */
export function voteBar(votes) {
  const given = Object.entries(votes).sort((a, b) => b[1] - a[1]);
  const total = given.reduce((sum, [, count]) => sum + count, 0) || 1;
  const words = given.map(([name, count]) => `${shown(name)} ${count}`).join(", ");
  return make(
    "span",
    { class: "votes", role: "img", "aria-label": `Votes: ${words}`, title: `Votes: ${words}` },
    given.map(([name, count]) => make("span", { vars: { "--share": count / total, "--colour": colour(name) } })),
  );
}
