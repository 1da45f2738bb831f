// The search and its results, in one place that every view listens to.
import { info, postJson } from "./api.js";
import { say, whileWorking } from "./dom.js";
import { takeEmotions } from "./emotions.js";
import { pictureFace } from "./pictures.js";
import { closeness } from "./words.js";

export const PAGE = 13; // a large photograph with four beside it, and two rows of four
const SUMMARISED = 100;
/** Faces that ship as points, without photographs: each has the votes of ten raters. */
export const RATED = { "metadata.dataset": "FER+" };
export const PHOTOGRAPHED = { not: RATED };
const EVERYTHING = { emotion: null, subClass: null };

const listeners = [];
export const state = {
  query: null, // as in the address
  title: "",
  answer: null, // the nearest photographs: posterior, embedding, matches, whether there are more
  rated: null, // the nearest rated faces
  info: null,
  problem: null,
  loading: false,
  paging: false,
  chosen: { ...EVERYTHING, onePerPerson: false },
};
let running = null;

export function listen(listener) {
  listeners.push(listener);
  listener(state);
}

function change(part) {
  Object.assign(state, part);
  for (const listener of listeners) listener(state);
}

/** Words for a query. */
export function titleOf(query) {
  if (query.emotion) return `the centre of ${query.emotion}`;
  if (query.sub_class) return `the centre of ${query.sub_class}`;
  if (query.mix) {
    const [a, b] = query.mix;
    const total = a.weight + b.weight;
    return `${Math.round((100 * a.weight) / total)} % ${a.query.emotion}, ${Math.round((100 * b.weight) / total)} % ${b.query.emotion}`;
  }
  if (query.picture) {
    const found = pictureFace(query.picture);
    return found?.picture.faces.length > 1 ? `face ${found.row + 1}` : "this face";
  }
  return "this face";
}

/** The query as the service takes it: a face of a picture by its point. */
export function askedQuery(query) {
  if (!query.picture) return query;
  const found = pictureFace(query.picture);
  return found && { embedding: found.face.embedding };
}

/** The filter of a choice: an emotion is the one that the mixture gives. */
function filterOf(faces) {
  const { emotion, subClass } = state.chosen;
  const chosen = subClass ? { sub_class: subClass } : emotion ? { emotion } : null;
  return chosen ? { and: [faces, chosen] } : faces;
}

const ask = async (body, signal) => (await postJson("/retrieve", body, { signal })).json();

/** A page of the nearest photographs. A face of the gallery is its own first match, and is left out. */
async function photographs(query, after, signal) {
  const { chosen, info: served } = state;
  const k = Math.min(PAGE + (query.id ? 1 : 0), served.limits.k);
  const page = await ask(
    { query, k, filter: filterOf(PHOTOGRAPHED), one_per_subject: chosen.onePerPerson || undefined, mask_copies: Boolean(state.query.picture), after },
    signal,
  );
  return { ...page, matches: page.matches.filter(({ id }) => id !== query.id), more: page.matches.length === k };
}

const summary = (query, signal) => ask({ query, k: Math.min(SUMMARISED, state.info.limits.k), filter: filterOf(RATED) }, signal);

/** Search; an older search that is still running is cancelled. */
export async function search(query) {
  const chosen = { ...state.chosen, ...EVERYTHING };
  await run({ query, title: titleOf(query), chosen, answer: null, rated: null, problem: null, loading: true, paging: false });
}

/** Choose an emotion, a sub-class, or one face of each person: the same query is sent again with these filters. */
export async function choose(part) {
  const chosen = { ...state.chosen, ...part };
  await run({ chosen, answer: { ...state.answer, matches: null, more: false }, rated: null, paging: true });
}

/** Append the next page of photographs. */
export async function showMore() {
  await run({ paging: true }, state.answer);
}

async function run(start, shown = null) {
  running?.abort();
  const { signal } = (running = new AbortController());
  change(start);
  try {
    state.info ??= await info();
    const query = askedQuery(state.query);
    const [page, rated] = await whileWorking(
      Promise.all([photographs(query, shown?.next, signal), shown ? state.rated : summary(query, signal)]),
    );
    if (signal.aborted) return;
    const matches = [...(shown?.matches ?? []), ...page.matches];
    change({ answer: { ...page, matches }, rated, loading: false, paging: false });
    say(spoken(matches, rated));
  } catch (problem) {
    if (problem.name !== "AbortError") change({ problem, loading: false, paging: false });
  }
}

function spoken(matches, rated) {
  const only = state.chosen.subClass ?? state.chosen.emotion;
  const nearest = matches[0] ? `, the nearest ${closeness(matches[0].distance, state.info.typical_distance).words}` : "";
  return `${matches.length} photographs near ${state.title}${nearest}; ${rated.matches.length} rated faces${only ? `; only ${only}` : ""}`;
}

export function clear() {
  running?.abort();
  const chosen = { ...state.chosen, ...EVERYTHING };
  change({ query: null, title: "", answer: null, rated: null, problem: null, loading: false, paging: false, chosen });
}

/** Ask what is served before it is needed, and say whether its emotions are new; a search asks again if this fails. */
export async function loadInfo() {
  const served = await info().catch(() => null);
  if (!served) return false;
  const differ = takeEmotions(served.emotions);
  change({ info: served });
  return differ;
}

/** A picture that is on its way to the service: { url }, or null. */
export const setPending = (pending) => change({ pending });
