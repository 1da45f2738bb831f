// Statistics of the gallery, fetched at intervals: whether it is writable, faces of each emotion, subjects.
import { askJson } from "./api.js";

const FRESH_MS = 20_000;
let asked = null;
let askedAt = 0;

/** Whether the gallery is your own, and its statistics, which are null if the request fails. */
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

/** Faces per emotion as cards name it; null where faces with and without labels are mixed, as the service does not count those. */
export function countsOf(statistics) {
  const { labels, emotions } = statistics;
  if (!labels[""]) return labels;
  return Object.keys(labels).length === 1 ? emotions : null;
}

/** The filter of a choice, as the service takes it: an emotion is a face's label or, without one, the mixture's. */
export function filterOf({ emotion, subClass }) {
  if (!emotion) return undefined;
  const named = { or: [{ label: emotion }, { label: null, emotion }] };
  return subClass ? { and: [named, { sub_class: subClass }] } : named;
}
