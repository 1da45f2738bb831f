// The search and its results, in one place that every view listens to.
import { retrieve } from "./api.js";
import { say, whileWorking } from "./dom.js";
import { filterOf, gallery } from "./gallery.js";

const listeners = [];
const EVERYTHING = { emotion: null, subClass: null };
export const state = {
  query: null,
  title: "",
  answer: null,
  problem: null,
  loading: false,
  paging: false,
  source: null,
  statistics: null,
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
  if (query.id) return `face ${query.id}`;
  if (query.mix) {
    const [a, b] = query.mix;
    const total = a.weight + b.weight;
    return `${Math.round((100 * a.weight) / total)} % ${a.query.emotion}, ${Math.round((100 * b.weight) / total)} % ${b.query.emotion}`;
  }
  return "this face";
}

/** The options of a request: the chosen filters, and where the previous page ended. */
function asked(after) {
  const { chosen } = state;
  return { filter: filterOf(chosen), one_per_subject: chosen.onePerPerson || undefined, after };
}

/** Search; an older search that is still running is cancelled. */
export async function search(query, { title = titleOf(query), source = null } = {}) {
  const chosen = { ...state.chosen, ...EVERYTHING };
  await fetchInto({ query, title, source, chosen, answer: null, problem: null, loading: true, paging: false }, null);
}

/** Choose an emotion, a sub-class, or one face of each person: the same query is sent again with these filters. */
export async function choose(part) {
  const chosen = { ...state.chosen, ...part };
  await fetchInto({ chosen, answer: { ...state.answer, matches: null, more: false }, paging: true }, null);
}

/** Append the next page. */
export async function showMore() {
  await fetchInto({ paging: true }, state.answer);
}

/** Fetch a page, and append it to those that are shown or (null) replace them. */
async function fetchInto(start, shown) {
  running?.abort();
  const mine = (running = new AbortController());
  change(start);
  try {
    const page = await whileWorking(retrieve(state.query, asked(shown?.next), { signal: mine.signal }));
    const { statistics } = await gallery();
    if (mine.signal.aborted) return;
    const matches = [...(shown?.matches ?? []), ...page.matches];
    change({ answer: { ...page, matches }, statistics, loading: false, paging: false });
    const only = state.chosen.subClass ?? state.chosen.emotion;
    say(`${matches.length} faces near ${state.title}${only ? `, only ${only}` : ""}`);
  } catch (problem) {
    if (problem.name !== "AbortError") change({ problem, loading: false, paging: false });
  }
}

export function clear() {
  running?.abort();
  const chosen = { ...state.chosen, ...EVERYTHING };
  change({ query: null, title: "", answer: null, problem: null, loading: false, paging: false, source: null, chosen });
}
