// The atlas: every emotion and sub-class with its average face.
import { ask } from "./api.js";
import { find, make, whileWorking } from "./dom.js";
import { bars, colour, percent } from "./emotions.js";
import { showPhotograph } from "./photographs.js";
import { portrait } from "./portraits.js";
import { addressOf } from "./route.js";

let shown = null;

/** Show the atlas; it is rebuilt only if the gallery has changed. */
export async function showAtlas() {
  const list = find("atlas-list");
  try {
    const response = await whileWorking(ask("/atlas"));
    const tag = response.headers.get("ETag");
    if (tag === shown) return;
    const atlas = await response.json();
    shown = tag;
    list.replaceChildren(...atlas.emotions.map((region) => emotion(region, atlas.owned)));
    const faces = atlas.faces.toLocaleString("en");
    find("atlas-words").textContent = atlas.owned
      ? `Shares and nearest faces are those of your gallery, ${faces} faces; faces with a stored picture are shown with it, marked as a photo. Large faces are portraits, the average face of a point, and the votes are those on the faces that mien was trained on.`
      : `Shares and faces are those of the gallery that ships with mien, ${faces} faces without photographs: every face shown is a portrait, the average face of a point.`;
  } catch (problem) {
    if (!shown) list.replaceChildren(make("p", { class: "problem", role: "alert" }, problem.message));
  }
}

function emotion(region, owned) {
  return make(
    "article",
    { class: "region", vars: { "--colour": colour(region.id) }, "aria-labelledby": `atlas-${region.id}` },
    make(
      "div",
      { class: "region-head" },
      make("a", { class: "region-portrait", href: addressOf("search", { emotion: region.id }), "aria-label": `Search from ${region.id}` }, portrait({ emotion: region.id }, "", "huge")),
      make(
        "div",
        { class: "region-words" },
        make("h2", { id: `atlas-${region.id}` }, region.id),
        make("p", { class: "hint" }, `${region.faces.toLocaleString("en")} faces, ${percent(region.share)} of the gallery`),
        make("div", { class: "share", "aria-hidden": "true", vars: { "--share": region.share } }),
        make("h3", {}, "How people voted"),
        bars(region.votes, { most: 4, label: `Votes on faces of ${region.id}` }),
      ),
    ),
    make("h3", {}, owned ? "Nearest to its centre, in your gallery" : "Nearest to its centre"),
    region.nearest.length === 0 && make("p", { class: "hint" }, "The gallery has no such face."),
    make(
      "ul",
      { class: "strip" },
      region.nearest.map((face) =>
        make("li", {}, make("a", { href: addressOf("search", { id: face.id }), title: face.id, "aria-label": `Search from face ${face.id}, distance ${face.distance.toFixed(2)}` }, faceOf(face), make("span", { class: "card-distance" }, face.distance.toFixed(2)))),
      ),
    ),
    region.sub_classes.length > 0 && [
      make("h3", {}, "Classes within it"),
      make("ul", { class: "subs" }, region.sub_classes.map((part) => subClass(part, region))),
    ],
  );
}

/** A face of the gallery: its photograph if one is stored, otherwise the average face of its point. */
function faceOf(face) {
  const canvas = portrait({ id: face.id }, "");
  showPhotograph(canvas, face.id);
  return canvas;
}

function subClass(part, parent) {
  const share = part.faces / Math.max(1, parent.faces);
  return make(
    "li",
    {},
    make("a", { class: "card", href: addressOf("search", { sub_class: part.id }), "aria-label": `Search from ${part.id}` }, portrait({ sub_class: part.id }, ""), make("span", { class: "card-name", title: part.description ?? "" }, part.name ?? part.id)),
    make("p", { class: "hint" }, `${percent(share)} of ${parent.id}`),
    bars(part.votes, { most: 3, label: `Votes on faces of ${part.id}` }),
  );
}
