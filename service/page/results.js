// What was found: the query with its bars, and the faces nearest to it.
import { make } from "./dom.js";
import { bars, dot, EMOTIONS, voteBar } from "./emotions.js";
import { showPhotograph } from "./photographs.js";
import { portrait } from "./portraits.js";
import { addressOf } from "./route.js";
import { state } from "./state.js";

const PAGE = 24;

/** Show the state of the search inside a container, now and after each change. */
export class Results {
  constructor(container, view) {
    this.container = container;
    this.view = view;
    this.filter = null;
    this.shownFaces = PAGE;
    this.answer = undefined;
  }

  update() {
    if (state.answer !== this.answer) {
      this.answer = state.answer;
      this.shownFaces = PAGE;
      this.filter = null;
    }
    this.container.replaceChildren(...this.parts());
    this.container.setAttribute("aria-busy", String(state.loading));
  }

  parts() {
    if (state.problem) {
      return [make("div", { class: "problem", role: "alert" }, make("h2", {}, "That search did not work"), make("p", {}, state.problem.message))];
    }
    if (state.loading) {
      return [make("h2", { class: "found-title" }, "Searching…"), make("div", { class: "cards", "aria-hidden": "true" }, Array.from({ length: 12 }, () => make("div", { class: "card ghost" })))];
    }
    return state.answer ? [this.about(), this.filters(), this.cards(), this.more()] : [this.start()];
  }

  start() {
    return make(
      "div",
      { class: "start" },
      make("h2", {}, "Or start from an expression"),
      make("p", { class: "hint" }, "Average faces of the gallery: they show nobody."),
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

  filters() {
    const counts = {};
    for (const match of this.answer.matches) counts[match.emotion] = (counts[match.emotion] ?? 0) + 1;
    const chip = (emotion, count) =>
      make(
        "button",
        {
          type: "button",
          class: "chip",
          "aria-pressed": String(this.filter === emotion),
          onclick: () => {
            this.filter = emotion;
            this.shownFaces = PAGE;
            this.update();
            this.container.querySelector('.chip[aria-pressed="true"]')?.focus();
          },
        },
        emotion ? dot(emotion) : null,
        emotion ?? "all",
        make("span", { class: "count" }, ` ${count}`),
      );
    return make(
      "div",
      { class: "chips", role: "group", "aria-label": "Show only faces of one emotion" },
      chip(null, this.answer.matches.length),
      EMOTIONS.filter((emotion) => counts[emotion]).map((emotion) => chip(emotion, counts[emotion])),
    );
  }

  wanted() {
    return this.answer.matches.filter((match) => !this.filter || match.emotion === this.filter);
  }

  cards() {
    return make("ol", { class: "cards", "aria-label": "Nearest faces, nearest first" }, this.wanted().slice(0, this.shownFaces).map((match) => make("li", {}, this.card(match))));
  }

  card(match) {
    const { votes } = match.metadata ?? {};
    const subClass = match.sub_class ?? match.metadata?.sub_class;
    const face = portrait({ id: match.id }, "");
    showPhotograph(face, match.id);
    const who = match.subject ? `, ${match.subject}` : "";
    return make(
      "a",
      {
        class: "card",
        href: addressOf(this.view, { id: match.id }),
        title: `${match.id}: more like this`,
        "aria-label": `${match.emotion}${who}, distance ${match.distance.toFixed(2)}. More like face ${match.id}`,
      },
      face,
      make("span", { class: "card-name" }, dot(match.emotion), subClass ?? match.emotion, who),
      make("span", { class: "card-distance" }, match.distance.toFixed(2)),
      votes ? voteBar(votes) : null,
      make("span", { class: "card-more", "aria-hidden": "true" }, "more like this"),
    );
  }

  more() {
    const left = this.wanted().length - this.shownFaces;
    return make(
      "div",
      { class: "more" },
      left > 0 &&
        make(
          "button",
          {
            type: "button",
            onclick: () => {
              this.shownFaces += PAGE;
              this.update();
            },
          },
          `Show ${Math.min(PAGE, left)} more`,
        ),
      make("p", { class: "hint" }, "Portraits are average faces of points, not the people behind the matches; a photograph that its owner kept is marked as one. The thin bar is how people voted; the number is the distance."),
    );
  }
}
