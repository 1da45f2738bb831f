// Explanations: which parts of a face its emotion depends on, and what a face and a match share.
import { askJson, postImages, postJson } from "./api.js";
import { find, make, whileWorking } from "./dom.js";
import { colour, dot, percent } from "./emotions.js";
import { portrait } from "./portraits.js";
import { pictureFace } from "./pictures.js";
import { askedQuery, state } from "./state.js";
import { nameOf, sentence, sourcesOf } from "./words.js";

const SIDE = 192;
const MIN_FALL = 0.02;
const MAX_DIRECTIONS = 3;
const MIN_SHARE = 0.04;

/** Show below a face which parts its emotion depends on. */
export async function explain(source, container, button) {
  button.disabled = true;
  container.scrollIntoView({ block: "nearest" });
  container.replaceChildren(make("p", { class: "hint working" }, "Covering one part of the face after the other…"));
  try {
    const answer = await whileWorking(postImages(`/explain?${parameters(source)}`, [source.blob]));
    const canvas = await heatMap(answer.crop, answer.heat, `The parts of the face that ${answer.emotion} rests on: ${strongest(answer.heat)}`);
    container.replaceChildren(
      make("figure", {}, canvas, make("figcaption", {}, `Where it is bright, ${answer.emotion} (${percent(answer.probability)}) rests on it: covered, the emotion becomes less probable. Most on the ${strongest(answer.heat)}.`)),
    );
  } catch (problem) {
    container.replaceChildren(make("p", { class: "problem", role: "alert" }, sentence(problem.message)));
  } finally {
    button.disabled = false;
    container.scrollIntoView({ block: "nearest" });
  }
}

const parameters = (source, more = {}) => new URLSearchParams({ face: source.row, already_cropped: source.cropped, ...more });

/** Show in a dialog what the query and a match share. */
export async function compare(match) {
  const { query, title, answer } = state;
  const found = query.picture && pictureFace(query.picture);
  const source = found && { blob: found.picture.blob, row: found.row, cropped: found.picture.cropped };
  const dialog = find("why-dialog");
  const content = find("why-content");
  const wanted = (dialog.dataset.wanted = `${match.id} ${Date.now()}`);
  find("why-title").textContent = `Why is “${match.metadata?.caption ?? match.id}” near?`;
  content.replaceChildren(make("p", { class: "hint working" }, "Covering one part of the faces after the other…"), make("div", { class: "pair", "aria-hidden": "true" }, make("div", { class: "ghost" }), make("div", { class: "ghost" })));
  content.setAttribute("aria-busy", "true");
  find("why-close").onclick = () => dialog.close();
  dialog.onclick = (event) => event.target === dialog && dialog.close();
  dialog.showModal();
  try {
    const explained = await whileWorking(
      source
        ? postImages(`/explain?${parameters(source, { match: match.id })}`, [source.blob])
        : postJson("/explain", { query: askedQuery(query), match: match.id }).then((response) => response.json()),
    );
    const of = query.id && explained.crop ? await askJson(`/gallery/${encodeURIComponent(query.id)}`) : {};
    const parts = await shared(explained, title, answer, [of, match]);
    if (dialog.dataset.wanted === wanted) content.replaceChildren(...parts);
  } catch (problem) {
    if (dialog.dataset.wanted === wanted) content.replaceChildren(make("p", { class: "problem", role: "alert" }, sentence(problem.message)));
  } finally {
    if (dialog.dataset.wanted === wanted) content.setAttribute("aria-busy", "false");
  }
}

/** `faces`: whose metadata say where the two pictures come from. */
async function shared(found, title, answer, faces) {
  const { match } = found;
  return [
    make(
      "div",
      { class: "pair" },
      await side(found.crop, match.heat, () => portrait({ embedding: answer.embedding }, `Average face at ${title}`), title.charAt(0).toUpperCase() + title.slice(1), faces[0]),
      await side(match.picture?.crop, match.picture?.heat, () => portrait({ id: match.id }, "Average face at the match"), `The match, ${match.distance.toFixed(2)} away`, faces[1]),
    ),
    heatWords(found),
    make("h3", {}, "What they are called"),
    make("p", {}, names(match)),
    agreement(match),
    make("h3", {}, `What the distance of ${match.distance.toFixed(2)} is made of`),
    ...apart(match),
  ];
}

/** One of the two faces: its heat map if there is a picture, otherwise the average face of its point. */
async function side(crop, heat, otherwise, words, face) {
  const seen = crop && heat;
  const picture = seen ? await heatMap(crop, heat, `${words}: the two are alike by the ${strongest(heat)}`) : otherwise();
  const kind = seen ? ["its picture", ...sourcesOf([face])].join(": ") : "no photograph: the average face of its point";
  return make("figure", {}, make("div", { class: "pair-picture" }, picture), make("figcaption", {}, make("strong", {}, words), make("span", { class: "hint" }, kind)));
}

function heatWords({ match }) {
  if (!match.heat && !match.picture) return make("p", { class: "hint" }, "Neither has a picture here, so there is nothing to cover: what follows is about their points.");
  const both = match.heat && match.picture;
  const place = strongest(match.heat ?? match.picture.heat);
  const other = both ? strongest(match.picture.heat) : null;
  const where = !both ? `most on the ${place}` : other === place ? `in both most on the ${place}` : `here most on the ${place}, in the match on the ${other}`;
  return make("p", {}, `Where it is bright they are alike: covered, the two move apart, ${where}.`);
}

function names(match) {
  const same = match.query_emotion === match.emotion;
  const parts = match.query_sub_class && match.sub_class;
  const first = same ? `Both lie nearest to ${match.emotion}` : `The first lies nearest to ${match.query_emotion}, the match to ${match.emotion}`;
  if (!parts) return `${first}.`;
  return same && match.query_sub_class === match.sub_class
    ? `${first}, and within it in the same class: ${nameOf(match)}.`
    : `${first}; more closely, ${nameOf({ sub_class: match.query_sub_class, sub_class_name: match.query_sub_class_name })} and ${nameOf(match)}.`;
}

/** The probabilities of the two faces, emotion by emotion. */
function agreement(match) {
  const rows = Object.keys(match.posterior)
    .map((emotion) => [emotion, match.query_posterior[emotion], match.posterior[emotion]])
    .filter(([, one, other]) => Math.max(one, other) >= 0.01)
    .sort((a, b) => Math.max(b[1], b[2]) - Math.max(a[1], a[2]))
    .slice(0, 4);
  return make(
    "table",
    { class: "agreement" },
    make("caption", {}, `Emotions: ${percent(match.overlap)} of their probability is shared`),
    make("thead", {}, make("tr", {}, make("td", {}), make("th", { scope: "col" }, "this one"), make("th", { scope: "col" }, "the match"))),
    make(
      "tbody",
      {},
      rows.map(([emotion, one, other]) =>
        make("tr", {}, make("th", { scope: "row" }, dot(emotion), emotion), ...[one, other].map((share) => make("td", { vars: { "--share": share, "--colour": colour(emotion) } }, percent(share)))),
      ),
    ),
  );
}

/** Which emotions the distance lies along. */
function apart(match) {
  if (match.distance < 0.005) return [make("p", {}, "None: both lie on the same point.")];
  const leading = match.directions.filter((each) => each.share >= MIN_SHARE).slice(0, MAX_DIRECTIONS);
  return [
    leading.length > 0 &&
      make(
        "ul",
        { class: "directions" },
        leading.map((each) => make("li", {}, dot(each.emotion), `${percent(each.share)} of it: the match shows ${each.more ? "more" : "less"} ${each.emotion}`)),
      ),
    make("p", { class: "hint" }, `The other ${percent(match.unexplained)} of it leads towards no emotion: differences within an expression.`),
  ].filter(Boolean);
}

/** Which third of the face carries most, in words. */
function strongest(heat) {
  const places = ["brows and forehead", "eyes and nose", "mouth and chin"];
  const rows = heat.map((row) => row.reduce((sum, value) => sum + Math.max(0, value), 0));
  const thirds = places.map((_, part) => rows.slice((part * rows.length) / 3, ((part + 1) * rows.length) / 3).reduce((a, b) => a + b, 0));
  return places[thirds.indexOf(Math.max(...thirds))];
}

/** A face with the heat map over it. */
async function heatMap(crop, heat, label) {
  const canvas = make("canvas", { class: "heat", width: SIDE, height: SIDE, role: "img", "aria-label": label });
  const bytes = Uint8Array.from(atob(crop), (letter) => letter.charCodeAt(0));
  const face = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  const context = canvas.getContext("2d");
  const small = make("canvas", { width: heat[0].length, height: heat.length });
  const pixels = small.getContext("2d").createImageData(small.width, small.height);
  const top = Math.max(MIN_FALL, ...heat.flat());
  heat.flat().forEach((value, place) => {
    const share = Math.max(0, value) / top;
    pixels.data.set([255, 190 - 110 * share, 40, Math.round(215 * share ** 0.8)], place * 4);
  });
  small.getContext("2d").putImageData(pixels, 0, 0);
  context.imageSmoothingQuality = "high";
  context.filter = "brightness(0.8)";
  context.drawImage(face, 0, 0, SIDE, SIDE);
  context.filter = "none";
  context.globalCompositeOperation = "screen";
  context.drawImage(small, 0, 0, SIDE, SIDE);
  return canvas;
}
