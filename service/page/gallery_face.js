// A face of the gallery: its photograph, fields and neighbours; relabel it, delete it, delete its person.
import { ask, askJson, forgetInfo, info, postJson } from "./api.js";
import { confirmed } from "./confirm.js";
import { find, make, say, whileWorking } from "./dom.js";
import { colour } from "./emotions.js";
import { addressOf } from "./route.js";
import { PHOTOGRAPHED } from "./state.js";
import { forgetPhotograph, photograph } from "./thumbnails.js";
import { closeness, creditsOf, emotionOf, kindOfFace, nameOf, tooltipOf } from "./words.js";

const NEIGHBOURS = 8;
const pathOf = (id) => `/gallery/${encodeURIComponent(id)}`;

/** Show a face by its id. */
export async function showFace(id) {
  const view = find("gallery-face");
  view.replaceChildren(make("p", { class: "hint" }, "…"));
  try {
    const [face, served] = await whileWorking(Promise.all([askJson(pathOf(id)), info()]));
    const picture = photograph(id, face.metadata.caption ?? "The face");
    picture.classList.add("large");
    view.replaceChildren(
      make("p", {}, make("a", { class: "quiet-link", href: "#/gallery" }, "‹ Back to the gallery")),
      make("div", { class: "face-view" }, make("div", {}, picture, actions(face, served)), make("div", {}, title(face), served.gallery.read_only ? null : form(face, served), fields(face))),
      neighbours(face, served),
    );
  } catch (problem) {
    view.replaceChildren(make("p", {}, make("a", { class: "quiet-link", href: "#/gallery" }, "‹ Back to the gallery")), make("p", { class: "problem", role: "alert" }, problem.message));
  }
}

function title(face) {
  const emotion = emotionOf(face);
  return make("div", {}, make("h2", { class: "face-emotion", vars: { "--colour": colour(emotion) } }, emotion ?? "no emotion"), face.sub_class && make("p", { class: "face-kind" }, kindOfFace(face)));
}

function actions(face, served) {
  const { read_only: readOnly } = served.gallery;
  return make(
    "div",
    { class: "row face-actions" },
    make("a", { class: "button primary", href: addressOf("search", { id: face.id }) }, "Search with this face"),
    !readOnly && make("button", { type: "button", onclick: () => remove(`Delete ${face.id}?`, pathOf(face.id), face.id) }, "Delete"),
    !readOnly && face.subject && make("button", { type: "button", onclick: () => remove(`Delete every face of ${face.subject}?`, `/gallery?subject=${encodeURIComponent(face.subject)}`, face.id) }, `Delete everything of ${face.subject}`),
  );
}

/** Label and subject, to be changed. */
function form(face, served) {
  const label = make("select", { name: "label" }, ["", ...served.emotions].map((emotion) => make("option", { value: emotion, selected: emotion === (face.label ?? "") }, emotion || "no label")));
  const subject = make("input", { type: "text", name: "subject", value: face.subject ?? "", autocomplete: "off" });
  const said = make("span", { class: "hint", role: "status" });
  const save = async (event) => {
    event.preventDefault();
    try {
      const body = JSON.stringify({ label: label.value || null, subject: subject.value.trim() || null });
      await ask(pathOf(face.id), { method: "PATCH", headers: { "Content-Type": "application/json" }, body });
      await showFace(face.id);
      say("Saved");
    } catch (problem) {
      said.textContent = problem.message;
    }
  };
  return make("form", { class: "face-form", onsubmit: save }, make("label", {}, "Label", label), make("label", {}, "Person", subject), make("button", { type: "submit" }, "Save"), said);
}

function fields(face) {
  const rows = [["Id", face.id], ["Label", face.label], ["Person", face.subject], ["Time", face.time?.slice(0, 19).replace("T", " ")], ...Object.entries(face.metadata)];
  const words = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));
  return make("dl", { class: "fields" }, rows.filter(([, value]) => value !== null && value !== undefined).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, words(value)))));
}

function neighbours(face, served) {
  const list = make("ol", { class: "matches even" });
  const credits = make("p", { class: "hint" });
  postJson("/retrieve", { query: { id: face.id }, k: NEIGHBOURS + 1, filter: PHOTOGRAPHED })
    .then((response) => response.json())
    .then(({ matches }) => {
      const others = matches.filter(({ id }) => id !== face.id);
      list.replaceChildren(...others.map((match) => neighbour(match, served)));
      credits.textContent = creditsOf(others);
    })
    .catch((problem) => list.replaceChildren(make("li", {}, problem.message)));
  return make("section", { class: "neighbours", "aria-label": "Neighbours" }, make("h2", {}, "Nearest faces"), list, credits);
}

function neighbour(match, served) {
  return make(
    "li",
    { class: "match" },
    make("a", { class: "match-picture", href: addressOf("gallery", { id: match.id }), title: tooltipOf(match) }, photograph(match.id), make("span", { class: "visually-hidden" }, match.metadata.caption ?? match.id)),
    make("p", { class: "match-name" }, nameOf(match)),
    make("p", { class: "match-near" }, `${closeness(match.distance, served.typical_distance).words} ${match.distance.toFixed(2)}`),
  );
}

async function remove(question, path, id) {
  if (!(await confirmed(question, "What is deleted cannot be brought back."))) return;
  try {
    await ask(path, { method: "DELETE" });
    forgetPhotograph(id);
    forgetInfo();
    location.hash = "#/gallery";
    say("Deleted");
  } catch (problem) {
    find("gallery-face").prepend(make("p", { class: "problem", role: "alert" }, problem.message));
  }
}
