// What the gallery holds, asked now and then: whose it is, how many faces of each emotion, whether people are known.
import { askJson } from "./api.js";

const FRESH_MS = 20_000;
let asked = null;
let askedAt = 0;

/** Whether it is somebody's own, and its statistics; null statistics where they cannot be had. */
export function gallery() {
  if (Date.now() - askedAt > FRESH_MS) asked = null;
  if (!asked) askedAt = Date.now();
  asked ??= askJson("/gallery?limit=1")
    .then((page) => ({ owned: !page.read_only, statistics: page.statistics }))
    .catch(() => {
      asked = null;
      return { owned: false, statistics: null };
    });
  return asked;
}

/** How many faces a card would name so; null where faces with and without a label are mixed, so that nobody counted. */
export function countsOf(statistics) {
  const { labels, emotions } = statistics;
  if (!labels[""]) return labels;
  return Object.keys(labels).length === 1 ? emotions : null;
}

/** The filter of a choice, as the service takes it: an emotion is a face's label or, without one, what the space names it. */
export function filterOf({ emotion, subClass }) {
  if (!emotion) return undefined;
  const named = { or: [{ label: emotion }, { label: null, emotion }] };
  return subClass ? { and: [named, { sub_class: subClass }] } : named;
}
