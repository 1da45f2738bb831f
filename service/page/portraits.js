// Portraits: average faces, painted by the service, many with one request.
import { postJson } from "./api.js";
import { make } from "./dom.js";

const SIDE = 48;
const AT_ONCE = 64;
const KEPT = 1500;
const known = new Map();
let waiting = new Map();
let off = false;

/** A canvas that shows the average face of a query as soon as it is painted. */
export function portrait(query, label, size = "") {
  const spoken = label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" };
  const canvas = make("canvas", { class: `portrait ${size}`, width: SIDE, height: SIDE, ...spoken });
  show(canvas, query);
  return canvas;
}

/** Show the portrait of a query on a canvas. */
export function show(canvas, query) {
  const key = JSON.stringify(query);
  canvas.dataset.wanted = key;
  const face = known.get(key);
  if (face) return draw(canvas, face);
  if (off) return canvas.classList.add("none");
  if (waiting.size === 0) setTimeout(flush, 15);
  const wait = waiting.get(key) ?? { query, canvases: [] };
  wait.canvases.push(canvas);
  waiting.set(key, wait);
}

function draw(canvas, face) {
  canvas.getContext("2d").drawImage(face, 0, 0);
  canvas.classList.add("painted");
}

async function flush() {
  const batch = [...waiting.entries()];
  waiting = new Map();
  for (let start = 0; start < batch.length; start += AT_ONCE) await paint(batch.slice(start, start + AT_ONCE));
}

async function paint(batch) {
  try {
    const response = await postJson("/portraits", { queries: batch.map(([, wait]) => wait.query) });
    const strip = await createImageBitmap(await response.blob());
    batch.forEach(([key, wait], row) => {
      const face = make("canvas", { width: SIDE, height: SIDE });
      face.getContext("2d").drawImage(strip, 0, row * SIDE, SIDE, SIDE, 0, 0, SIDE, SIDE);
      known.set(key, face);
      for (const canvas of wait.canvases) if (canvas.dataset.wanted === key) draw(canvas, face);
    });
    while (known.size > KEPT) known.delete(known.keys().next().value);
  } catch (problem) {
    if (problem.kind === "query" && /no portraits/.test(problem.message)) off = true;
    for (const [, wait] of batch) for (const canvas of wait.canvases) canvas.classList.add("none");
  }
}
