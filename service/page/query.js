// What was searched for: a picture with its faces, a face of the gallery, or a point between emotions.
import { askJson } from "./api.js";
import { drawBoxes } from "./boxes.js";
import { make } from "./dom.js";
import { bars, colour, percent, voteBar } from "./emotions.js";
import { pictureFace } from "./pictures.js";
import { portrait } from "./portraits.js";
import { addressOf } from "./route.js";
import { askedQuery, state, titleOf } from "./state.js";
import { photograph } from "./thumbnails.js";
import { explain } from "./why.js";
import { doubtsAbout, kindOfFace, sourcesOf } from "./words.js";

const WIDE = 1.2; // width by height of a picture that takes the whole width of a phone

/** The panel about the query; `another` starts over. */
export class QueryPanel {
  constructor(container, another) {
    this.container = container;
    this.another = another;
    this.shown = null;
  }

  update() {
    const key = JSON.stringify([state.pending?.url, state.query, state.query?.picture ? null : Boolean(state.answer)]);
    if (key === this.shown) return;
    this.shown = key;
    this.container.replaceChildren(...this.parts().filter(Boolean));
  }

  parts() {
    if (state.pending) return [frame(make("img", { src: state.pending.url, alt: "Your picture" })), make("p", { class: "hint" }, "Looking for faces…")];
    if (!state.query) return [];
    const another = make("button", { type: "button", class: "quiet", onclick: this.another }, "Start over");
    if (state.query.picture) return [...ofPicture(pictureFace(state.query.picture)), another];
    if (state.query.id) return [ofGallery(state.query.id), another];
    return [ofPoint(state.query), another];
  }
}

const frame = (...parts) => make("div", { class: "stage-frame" }, parts);

function ofPicture({ picture, number, row, face }) {
  const image = make("img", { src: picture.url, alt: "Your picture" });
  const layer = make("div", { class: "boxes", "aria-hidden": "true" });
  const choose = (other) => (location.hash = addressOf("search", { picture: `${number}.${other}` }));
  const draw = (width, height) => drawBoxes(layer, picture.faces, { width, height, chosen: row, onchoose: choose });
  const stage = frame(image, layer);
  image.onload = () => {
    stage.classList.toggle("wide", image.naturalWidth > WIDE * image.naturalHeight);
    draw(image.naturalWidth, image.naturalHeight);
  };
  return [stage, picture.faces.length > 1 && faceStrip(picture, number, row), faceCard(face, picture, row)];
}

/** The faces of a picture, to choose one. */
function faceStrip({ faces, crops }, number, row) {
  const { faces: most } = state.info?.limits ?? {};
  const words = faces.length === most ? `The ${most} largest faces; this service answers no more of one picture.` : `${faces.length} faces; the largest first.`;
  const link = (face, each) => {
    const picture = crops[each] ? make("img", { src: crops[each], alt: "" }) : make("span");
    return make(
      "a",
      {
        href: addressOf("search", { picture: `${number}.${each}` }),
        "aria-label": `Face ${each + 1}: ${face.known ? face.emotion : "no known expression"}`,
        "aria-current": each === row ? "true" : undefined,
        vars: { "--colour": colour(face.known ? face.emotion : "other") },
      },
      picture,
    );
  };
  return make("div", {}, make("div", { class: "face-strip", role: "group", "aria-label": "Faces in the picture" }, faces.map(link)), make("p", { class: "hint" }, words));
}

function faceCard(face, picture, row) {
  const why = make("div", { class: "why" });
  const doubts = doubtsAbout(face);
  const source = { blob: picture.blob, row, cropped: picture.cropped };
  return make(
    "article",
    { class: "face-card", "aria-label": `Face ${row + 1}` },
    make(
      "div",
      { class: "row between" },
      emotionTitle(face.known ? face.emotion : null),
      make("button", { type: "button", class: "small", onclick: (event) => explain(source, why, event.currentTarget) }, "Where in the face?"),
    ),
    face.known && kind(face),
    why,
    allBars(face.posterior),
    face.intensity && make("p", { class: "typical" }, `Strength ${percent(face.intensity)}: neutral is 0, a typical face of ${face.emotion} 100 %.`),
    doubts && make("p", { class: "typical doubts" }, doubts),
  );
}

const emotionTitle = (emotion) => make("h2", { class: "face-emotion", vars: { "--colour": colour(emotion ?? "other") } }, emotion ?? "no known expression");

/** The sub-class below the name of its emotion. */
const kind = (face) => face.sub_class && make("p", { class: "face-kind" }, kindOfFace(face));

/** The largest shares; all of them on request. */
function allBars(posterior) {
  const more = make("details", { class: "rest" }, make("summary", {}, "all emotions"), bars(posterior));
  return make("div", {}, bars(posterior, { most: 3 }), more);
}

/** A face of the gallery: its photograph where there is one, and what is known of it. */
function ofGallery(id) {
  const about = make("article", { class: "face-card" }, make("p", { class: "hint" }, "…"));
  askJson(`/gallery/${encodeURIComponent(id)}`).then(
    (face) => about.replaceChildren(...aboutFace(face, id).filter(Boolean)),
    (problem) => about.replaceChildren(make("p", {}, problem.message)),
  );
  const picture = photograph(id, "The face that was searched for");
  picture.classList.add("large");
  return make("div", { class: "query-face" }, picture, about);
}

function aboutFace(face, id) {
  const { caption, votes } = face.metadata;
  return [
    make("div", { class: "row between" }, emotionTitle(face.emotion ?? face.label), make("a", { class: "quiet-link", href: addressOf("gallery", { id }) }, "In the gallery")),
    kind(face),
    state.answer && allBars(state.answer.posterior),
    face.label && face.label !== face.emotion && make("p", { class: "hint" }, `Labelled ${face.label}.`),
    votes && make("div", {}, make("h3", {}, "How people voted"), voteBar(votes)),
    make("p", { class: "hint" }, caption ?? id),
    make("p", { class: "hint" }, sourcesOf([face]).join()),
  ];
}

function ofPoint(query) {
  const title = titleOf(query);
  return make(
    "div",
    { class: "query-face" },
    portrait(askedQuery(query), `Average face at ${title}`, "large"),
    make(
      "article",
      { class: "face-card" },
      make("h2", {}, `${title.charAt(0).toUpperCase()}${title.slice(1)}`),
      state.answer && allBars(state.answer.posterior),
      make("p", { class: "hint" }, "The picture is the average of all faces here: nobody’s face."),
    ),
  );
}
