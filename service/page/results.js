// Results: the nearest photographs, large, then the nearest rated faces as a summary.
import { make } from "./dom.js";
import { dot } from "./emotions.js";
import { addressOf } from "./route.js";
import { choose, search, showMore, state } from "./state.js";
import { summary } from "./summary.js";
import { photograph } from "./thumbnails.js";
import { compare } from "./why.js";
import { closeness, creditsOf, emotionOf, kindOf, nameOf, sentence, tooltipOf } from "./words.js";

const GHOSTS = 9;

/** Show the state of the search inside a container, now and after each change. */
export class Results {
  constructor(container, view) {
    this.container = container;
    this.view = view;
  }

  update() {
    if (this.container.closest("section").hidden) return; // it is updated when its view is shown
    // Everything is rebuilt, so the keyboard focus is put back where it was.
    const key = this.container.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    const shown = this.container.querySelectorAll(".match").length;
    this.container.replaceChildren(...this.parts().filter(Boolean));
    this.container.setAttribute("aria-busy", String(state.loading || state.paging));
    if (!key) return;
    const same = this.container.querySelector(`[data-key="${CSS.escape(key)}"]`);
    const next = this.container.querySelectorAll(".match a")[key === "more" ? shown : 0];
    (same ?? next)?.focus({ preventScroll: Boolean(same) });
  }

  parts() {
    if (state.problem) {
      return [make("div", { class: "problem", role: "alert" }, make("h2", {}, "That search did not work"), make("p", {}, sentence(state.problem.message)), make("div", { class: "row" }, make("button", { type: "button", onclick: () => search(state.query) }, "Try again")))];
    }
    if (state.loading || state.pending) return [make("h2", { class: "found-title" }, state.pending ? "Looking for faces…" : "Searching…"), ghosts()];
    if (!state.answer) return [];
    const { matches } = state.answer;
    return [this.title(), matches?.length ? farNotice(matches[0]) : null, this.filters(), matches ? this.photographs() : ghosts(), this.more(), state.rated && summary(state.rated, this.view)];
  }

  title() {
    const { matches } = state.answer;
    const heading = matches?.length === 0 ? "No photographs" : state.rated?.matches.length ? "Nearest photographs" : "Nearest faces";
    const link = this.view === "search" && make("a", { class: "quiet-link", href: "#/map" }, "On the map");
    const people = state.chosen.onePerPerson || matches?.some((match) => match.subject);
    return make("div", { class: "row found-head" }, make("h2", { class: "found-title" }, heading, make("span", { class: "visually-hidden" }, ` to ${state.title}`)), people && this.onePerPerson(), link);
  }

  /** A filter button. */
  chip(key, words, pressed, part, emotion = null) {
    const button = make("button", { type: "button", class: "chip", "aria-pressed": String(pressed), onclick: () => choose(part) }, emotion && dot(emotion), words);
    button.dataset.key = key;
    return button;
  }

  filters() {
    const { chosen, info } = state;
    const ofChosen = Object.keys(info.sub_classes).filter((id) => chosen.emotion && id.startsWith(`${chosen.emotion}/`));
    return make(
      "div",
      { class: "narrowing" },
      make(
        "div",
        { class: "chips", role: "group", "aria-label": "Show only faces of one emotion" },
        this.chip("all", "all", !chosen.emotion, { emotion: null, subClass: null }),
        info.emotions.map((emotion) => this.chip(emotion, emotion, chosen.emotion === emotion, { emotion, subClass: null }, emotion)),
      ),
      ofChosen.length > 1 &&
        make(
          "div",
          { class: "chips sub", role: "group", "aria-label": `Show only one kind of ${chosen.emotion}` },
          this.chip("every kind", "every kind", !chosen.subClass, { subClass: null }),
          ofChosen.map((id) => this.chip(id, kindOf(id, info.sub_classes), chosen.subClass === id, { subClass: id })),
        ),
    );
  }

  onePerPerson() {
    const box = make("input", { type: "checkbox", role: "switch", checked: state.chosen.onePerPerson, onchange: (event) => choose({ onePerPerson: event.target.checked }) });
    box.dataset.key = "one per person";
    return make("label", { class: "switch" }, box, "One per person");
  }

  photographs() {
    const { matches } = state.answer;
    if (!matches.length) {
      const only = state.chosen.emotion ? `a photograph of ${state.chosen.subClass ? kindOf(state.chosen.subClass, state.info.sub_classes) : state.chosen.emotion}` : "photographs";
      return make("p", { class: "nothing" }, `The gallery has no ${only.replace(/^a /, "")}.`);
    }
    return make("ol", { class: "matches", "aria-label": "Nearest photographs, nearest first" }, matches.map((match) => this.match(match)));
  }

  match(match) {
    const { caption } = match.metadata ?? {};
    const near = closeness(match.distance, state.info.typical_distance);
    const name = nameOf(match);
    const label = match.label && match.label !== emotionOf(match) ? `labelled ${match.label}` : null;
    const link = make("a", { class: "match-picture", href: addressOf(this.view, { id: match.id }), title: tooltipOf(match) }, photograph(match.id), make("span", { class: "visually-hidden" }, `More like ${caption ?? match.id}`));
    link.dataset.key = match.id;
    const why = make("button", { type: "button", class: "plain", "aria-label": `Why is ${caption ?? match.id} near? What the two share`, onclick: () => compare(match) }, "Why?");
    why.dataset.key = `why ${match.id}`;
    return make(
      "li",
      { class: `match${near.far ? " far" : ""}` },
      link,
      make("p", { class: "match-name" }, dot(emotionOf(match)), make("span", {}, name)),
      make("p", { class: "match-near" }, make("span", {}, near.words, " ", make("span", { class: "number" }, match.distance.toFixed(2))), why),
      label && make("p", { class: "match-label" }, label),
    );
  }

  more() {
    const { same_emotion: same, other_emotion: other } = state.info.typical_distance;
    const button = make("button", { type: "button", "aria-disabled": String(state.paging), onclick: () => state.paging || showMore() }, "Show more");
    button.dataset.key = "more";
    if (!state.answer.matches?.length) return null;
    const credits = creditsOf(state.answer.matches);
    return make(
      "div",
      { class: "more" },
      state.answer.more && button,
      make("p", { class: "hint" }, `The number is the distance: 0 is the same expression; two faces of one emotion are typically ${same.toFixed(1)} apart, of different ones ${other.toFixed(1)}.${state.query.picture ? " The same picture, where the gallery has it, is left out." : ""}`),
      credits && make("p", { class: "hint" }, credits),
    );
  }
}

function ghosts() {
  return make("div", { class: "matches", "aria-hidden": "true" }, Array.from({ length: GHOSTS }, () => make("div", { class: "match ghost" })));
}

/** A warning where even the nearest photograph is far. */
function farNotice(nearest) {
  if (!closeness(nearest.distance, state.info.typical_distance).far) return null;
  return make("p", { class: "notice" }, make("strong", {}, "No close match. "), "Even the nearest photograph shows another expression: this gallery has none like it.");
}
