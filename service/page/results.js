// Results: the query with its bars, and the nearest faces.
import { make } from "./dom.js";
import { bars, dot, EMOTIONS, voteBar } from "./emotions.js";
import { countsOf } from "./gallery.js";
import { showPhotograph } from "./photographs.js";
import { portrait } from "./portraits.js";
import { addressOf } from "./route.js";
import { choose, showMore, state } from "./state.js";
import { compare } from "./why.js";

const GHOSTS = 12;

/** Show the state of the search inside a container, now and after each change. */
export class Results {
  constructor(container, view) {
    this.container = container;
    this.view = view;
  }

  update() {
    // Everything is rebuilt, so the keyboard focus is put back where it was.
    const key = this.container.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    const shown = this.container.querySelectorAll("ol .card").length;
    this.container.replaceChildren(...this.parts());
    this.container.setAttribute("aria-busy", String(state.loading || state.paging));
    if (!key) return;
    const same = this.container.querySelector(`[data-key="${CSS.escape(key)}"]`);
    const next = this.container.querySelectorAll("ol .card")[key === "more" ? shown : 0];
    (same ?? next)?.focus({ preventScroll: Boolean(same) });
  }

  parts() {
    if (state.problem) {
      return [make("div", { class: "problem", role: "alert" }, make("h2", {}, "That search did not work"), make("p", {}, state.problem.message))];
    }
    if (state.loading) {
      return [make("h2", { class: "found-title" }, "Searching…"), this.ghosts()];
    }
    if (!state.answer) return [this.start()];
    return [this.about(), this.filters(), state.answer.matches ? this.cards() : this.ghosts(), this.more()];
  }

  ghosts() {
    return make("div", { class: "cards", "aria-hidden": "true" }, Array.from({ length: GHOSTS }, () => make("div", { class: "card ghost" })));
  }

  start() {
    return make(
      "div",
      { class: "start" },
      make("h2", {}, "Or start from an expression"),
      make("p", { class: "hint" }, "Average faces of the gallery; they show no real person."),
      make(
        "ul",
        { class: "cards starters" },
        EMOTIONS.map((emotion) =>
          make(
            "li",
            {},
            make(
              "a",
              { class: "card", href: addressOf(this.view, { emotion }) },
              portrait({ emotion }, `Average face of ${emotion}`),
              make("span", { class: "card-name" }, dot(emotion), emotion),
            ),
          ),
        ),
      ),
    );
  }

  about() {
    const { answer, title, query } = state;
    const onMap = this.view === "search" && make("a", { class: "button", href: "#/map" }, "Show on the map");
    return make(
      "div",
      { class: "about-query" },
      portrait({ embedding: answer.embedding }, `Average face at ${title}`, "large"),
      make(
        "div",
        { class: "about-words" },
        make("h2", { class: "found-title" }, `Nearest to ${title}`),
        bars(answer.posterior, { most: 3, label: "How probable each emotion is here" }),
        make(
          "div",
          { class: "row" },
          onMap,
          query.embedding ? null : make("a", { class: "button quiet", href: addressOf(this.view, null), onclick: () => state.leave?.() }, "Start over"),
        ),
      ),
    );
  }

  /** A filter button, with the number of such faces in the whole gallery if it is known. */
  chip(key, words, pressed, part, { emotion = null, count } = {}) {
    const number = count === undefined ? null : make("span", { class: "count" }, ` ${count.toLocaleString("en")}`);
    const button = make(
      "button",
      { type: "button", class: "chip", "aria-pressed": String(pressed), onclick: () => choose(part) },
      emotion ? dot(emotion) : null,
      words,
      number,
    );
    button.dataset.key = key;
    return button;
  }

  filters() {
    const { chosen, statistics } = state;
    const counts = statistics ? countsOf(statistics) : null;
    const held = (emotion) => !statistics || statistics.labels[emotion] || statistics.emotions[emotion];
    return make(
      "div",
      { class: "narrowing" },
      make(
        "div",
        { class: "chips", role: "group", "aria-label": "Show only faces of one emotion" },
        this.chip("all", "all", !chosen.emotion, { emotion: null, subClass: null }, { count: statistics?.faces }),
        EMOTIONS.filter(held).map((emotion) =>
          this.chip(emotion, emotion, chosen.emotion === emotion, { emotion, subClass: null }, { emotion, count: counts ? (counts[emotion] ?? 0) : undefined }),
        ),
      ),
      this.subClasses(),
      statistics?.subjects > 0 && this.onePerPerson(),
    );
  }

  /** The sub-classes of the chosen emotion, if there are at least two. */
  subClasses() {
    const { chosen, statistics } = state;
    const ids = Object.keys(statistics?.sub_classes ?? {})
      .filter((id) => chosen.emotion && id.startsWith(`${chosen.emotion}/`))
      .sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    if (ids.length < 2) return null;
    return make(
      "div",
      { class: "chips sub", role: "group", "aria-label": `Show only one kind of ${chosen.emotion}` },
      this.chip("every kind", "every kind", !chosen.subClass, { subClass: null }),
      ids.map((id) => this.chip(id, id, chosen.subClass === id, { subClass: id })),
    );
  }

  onePerPerson() {
    const box = make("input", {
      type: "checkbox",
      role: "switch",
      checked: state.chosen.onePerPerson,
      onchange: (event) => choose({ onePerPerson: event.target.checked }),
    });
    box.dataset.key = "one per person";
    return make("label", { class: "switch" }, box, "One per person");
  }

  cards() {
    const { matches } = state.answer;
    if (!matches.length) return make("p", { class: "nothing" }, "The gallery has no such face.");
    return make("ol", { class: "cards", "aria-label": "Nearest faces, nearest first" }, matches.map((match) => make("li", {}, this.card(match), this.why(match))));
  }

  card(match) {
    const { votes } = match.metadata ?? {};
    const named = match.sub_class ?? match.metadata?.sub_class;
    // If the label differs from the mixture's emotion, the sub-class belongs to another emotion and is left out.
    const subClass = named?.startsWith(`${match.emotion}/`) ? named : null;
    const face = portrait({ id: match.id }, "");
    showPhotograph(face, match.id);
    const who = match.subject ? `, ${match.subject}` : "";
    return make(
      "a",
      {
        class: "card",
        href: addressOf(this.view, { id: match.id }),
        title: `${match.id}: more like this`,
      },
      face,
      make("span", { class: "card-name" }, dot(match.emotion), (subClass && match.sub_class_name) ?? subClass ?? match.emotion, who),
      make("span", { class: "visually-hidden" }, ", distance "),
      make("span", { class: "card-distance" }, match.distance.toFixed(2)),
      votes ? voteBar(votes) : null,
      make("span", { class: "visually-hidden" }, `. More like face ${match.id}`),
      make("span", { class: "card-more", "aria-hidden": "true" }, "more like this"),
    );
  }

  why(match) {
    const button = make("button", { type: "button", class: "card-why", "aria-label": `Why is face ${match.id} near? What the two share`, onclick: () => compare(match) }, "Why?");
    button.dataset.key = `why ${match.id}`;
    return button;
  }

  more() {
    const button = make("button", { type: "button", "aria-disabled": String(state.paging), onclick: () => state.paging || showMore() }, "Show more");
    button.dataset.key = "more";
    return make(
      "div",
      { class: "more" },
      state.answer.more && button,
      make("p", { class: "hint" }, "Portraits are average faces of points, not the people behind the matches; stored photographs are marked as such. The thin bar is how people voted; the number is the distance."),
    );
  }
}
