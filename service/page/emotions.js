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

const largest = (shares) => Object.entries(shares).sort((a, b) => b[1] - a[1]);

/** One bar for each share, largest first. */
export function bars(shares, { most = 8, label = "How people would be expected to vote" } = {}) {
  return make(
    "dl",
    { class: "bars", "aria-label": label },
    largest(shares)
      .slice(0, most)
      .map(([name, share]) =>
        make(
          "div",
          { vars: { "--share": share, "--colour": colour(name) } },
          make("dt", {}, shown(name)),
          make("dd", {}, make("span", { class: "bar", "aria-hidden": "true" }), make("span", { class: "number" }, percent(share))),
        ),
      ),
  );
}

/** The shares of several faces' votes, each face counting once. */
export function meanVotes(faces) {
  const sums = {};
  let counted = 0;
  for (const { metadata } of faces) {
    const votes = Object.entries(metadata?.votes ?? {});
    const total = votes.reduce((sum, [, count]) => sum + count, 0);
    if (total) counted += 1;
    for (const [name, count] of votes) sums[name] = (sums[name] ?? 0) + count / total;
  }
  return Object.fromEntries(Object.entries(sums).map(([name, sum]) => [name, sum / counted]));
}

/** The largest shares in words: "happiness 82 %, neutral 12 %". */
export const inWords = (shares, most = 2) =>
  largest(shares)
    .slice(0, most)
    .map(([name, share]) => `${shown(name)} ${percent(share)}`)
    .join(", ");

/** Votes of raters as one bar in parts, with words for screen readers. */
export function voteBar(votes) {
  const total = Object.values(votes).reduce((sum, count) => sum + count, 0) || 1;
  const shares = Object.fromEntries(Object.entries(votes).map(([name, count]) => [name, count / total]));
  const words = `Votes: ${inWords(shares, 10)}`;
  return make(
    "span",
    { class: "votes", role: "img", "aria-label": words, title: words },
    largest(shares).map(([name, share]) => make("span", { vars: { "--share": share, "--colour": colour(name) } })),
  );
}
