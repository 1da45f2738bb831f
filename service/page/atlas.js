// The atlas: every emotion and sub-class with its average face.
import { ask } from "./api.js";
import { find, make, whileWorking } from "./dom.js";
import { bars, colour, percent } from "./emotions.js";
import { portrait } from "./portraits.js";
import { addressOf } from "./route.js";
import { photographOf } from "./thumbnails.js";
import { creditsOf, kindOf, tooltipOf } from "./words.js";

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
    list.replaceChildren(...atlas.emotions.map(emotion));
    credit(atlas.emotions.flatMap((region) => region.nearest));
    const faces = atlas.faces.toLocaleString("en");
    find("atlas-words").textContent = atlas.owned
      ? `Shares are those of your gallery, ${faces} faces. The large faces are portraits, averages of many people; the votes are those on the faces that mien was trained on.`
      : `Shares are those of the gallery that ships with mien, ${faces} faces. The large faces are portraits, averages of many people.`;
  } catch (problem) {
    if (!shown) list.replaceChildren(make("p", { class: "problem", role: "alert" }, problem.message));
  }
}

/** Say where those photographs come from that the gallery has. */
async function credit(faces) {
  const addresses = await Promise.all(faces.map(({ id }) => photographOf(id).catch(() => null)));
  find("atlas-sources").textContent = creditsOf(faces.filter((_, row) => addresses[row]));
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
    nearest(region),
    region.sub_classes.length > 0 && [
      make("h3", {}, "Classes within it"),
      make("ul", { class: "subs" }, region.sub_classes.map((part) => subClass(part, region))),
    ],
  );
}

/** The photographs nearest to a centre, where the gallery has any. */
function nearest(region) {
  const strip = make("ul", { class: "strip" });
  const part = make("div", { hidden: true }, make("h3", {}, "Nearest to its centre"), strip);
  Promise.all(region.nearest.map(async (face) => [face, await photographOf(face.id)])).then(
    (faces) => {
      const seen = faces.filter(([, address]) => address);
      part.hidden = seen.length === 0;
      strip.replaceChildren(
        ...seen.map(([face, address]) =>
          make("li", {}, make("a", { href: addressOf("search", { id: face.id }), title: tooltipOf(face), "aria-label": `Search from face ${face.id}, distance ${face.distance.toFixed(2)}` }, make("span", { class: "photograph" }, make("img", { src: address, alt: "" })))),
        ),
      );
    },
    () => {},
  );
  return part;
}

/** A sub-class; its share is that of the faces of its emotion that have one. */
function subClass(part, parent) {
  const share = part.faces / Math.max(1, parent.sub_classes.reduce((sum, each) => sum + each.faces, 0));
  const name = kindOf(part.id, { [part.id]: part.name ?? part.id });
  return make(
    "li",
    {},
    make("a", { class: "card", href: addressOf("search", { sub_class: part.id }), "aria-label": `Search from ${name}` }, portrait({ sub_class: part.id }, ""), make("span", { class: "card-name", title: part.description ?? "" }, name)),
    make("p", { class: "hint" }, `${percent(share)} of ${parent.id}`),
    bars(part.votes, { most: 3, label: `Votes on faces of ${name}` }),
  );
}
