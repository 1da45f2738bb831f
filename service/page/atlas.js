// The atlas: every emotion and sub-class with its mean representative.
import { askJson } from "./api.js";
import { find, make, whileWorking } from "./dom.js";
import { bars, colour, percent } from "./emotions.js";
import { portrait } from "./portraits.js";
import { addressOf } from "./route.js";

let loaded = null;

/** Show the atlas; it is fetched once. */
export async function showAtlas() {
  const list = find("atlas-list");
  loaded ??= whileWorking(askJson("/atlas"));
  try {
    const atlas = await loaded;
    if (!list.children.length || list.querySelector(".problem")) list.replaceChildren(...atlas.emotions.map((region) => emotion(region)));
  } catch (problem) {
    loaded = null;
    list.replaceChildren(make("p", { class: "problem", role: "alert" }, problem.message));
  }
}

function emotion(region) {
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
    make("h3", {}, "Nearest to its middle"),
    make(
      "ul",
      { class: "strip" },
      region.nearest.map((face) =>
        make("li", {}, make("a", { href: addressOf("search", { id: face.id }), title: face.id, "aria-label": `Search from face ${face.id}, distance ${face.distance.toFixed(2)}` }, portrait({ id: face.id }, ""), make("span", { class: "card-distance" }, face.distance.toFixed(2)))),
      ),
    ),
    region.sub_classes.length > 0 && [
      make("h3", {}, "Classes within it"),
      make("ul", { class: "subs" }, region.sub_classes.map((part) => subClass(part, region))),
    ],
  );
}

function subClass(part, parent) {
  const share = part.faces / Math.max(1, parent.faces);
  return make(
    "li",
    {},
    make("a", { class: "card", href: addressOf("search", { sub_class: part.id }), "aria-label": `Search from ${part.id}` }, portrait({ sub_class: part.id }, ""), make("span", { class: "card-name" }, part.id)),
    make("p", { class: "hint" }, `${percent(share)} of ${parent.id}`),
    bars(part.votes, { most: 3, label: `Votes on faces of ${part.id}` }),
  );
}
