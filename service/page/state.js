// What is searched for, and what was found: one place, that every view listens to.
import { retrieve } from "./api.js";
import { say, whileWorking } from "./dom.js";

const listeners = [];
export const state = { query: null, title: "", answer: null, problem: null, loading: false, face: null };
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
  if (query.emotion) return `the middle of ${query.emotion}`;
  if (query.sub_class) return `the middle of ${query.sub_class}`;
  if (query.id) return `face ${query.id}`;
  if (query.mix) {
    const [a, b] = query.mix;
    const total = a.weight + b.weight;
    return `${Math.round((100 * a.weight) / total)} % ${a.query.emotion}, ${Math.round((100 * b.weight) / total)} % ${b.query.emotion}`;
  }
  return "this face";
}

/** Search; an older search that is still running is given up. */
export async function search(query, { title = titleOf(query), face = null } = {}) {
  running?.abort();
  const mine = (running = new AbortController());
  change({ query, title, face, answer: null, problem: null, loading: true });
  try {
    const answer = await whileWorking(retrieve(query, { signal: mine.signal }));
    change({ answer, loading: false });
    say(`${answer.matches.length} faces near ${title}`);
  } catch (problem) {
    if (problem.name !== "AbortError") change({ problem, loading: false });
  }
}

export function clear() {
  running?.abort();
  change({ query: null, title: "", answer: null, problem: null, loading: false, face: null });
}
