// The view of your own pictures: a grid by sub-class or by likeness to a chosen face, progress, and what was left out.
import { info } from "./api.js";
import { find, make, say } from "./dom.js";
import { colour, dot } from "./emotions.js";
import { byLikeness, emotionName, forgetOwn, grouped, listenOwn, own } from "./own.js";
import { keepAsGallery } from "./own_keep.js";
import { addressOf } from "./route.js";
import { closeness, nameOf, plural, skipWords } from "./words.js";

const REDRAW_MS = 400; // while pictures come in

export class OwnView {
  constructor() {
    this.chosen = null;
    this.timer = null;
    find("own-add").onclick = () => find("file").click();
    find("own-folder").onclick = () => find("folder").click();
    find("own-forget").onclick = () => {
      this.chosen = null;
      forgetOwn();
      find("own-add").focus();
    };
    find("own-keep").onclick = () => keepAsGallery();
    listenOwn(() => (own.busy ? (this.timer ??= setTimeout(() => this.update(), REDRAW_MS)) : this.update()));
  }

  async update() {
    clearTimeout(this.timer); // drawn again later, a face could be replaced while it is being chosen
    this.timer = null;
    if (find("pictures").hidden) return;
    const served = await info().catch(() => null); // before anything is drawn: progress and grid change in one step
    const any = own.pictures > 0;
    find("own-empty").hidden = any;
    for (const id of ["own-forget", "own-keep", "own-on-map"]) find(id).hidden = !any || (id !== "own-forget" && (own.busy || !own.faces.length));
    this.progress();
    this.skipped();
    if (this.chosen && !own.faces.includes(this.chosen)) this.chosen = null;
    if (!served) return;
    const focused = document.activeElement?.dataset.key;
    find("own-grid").replaceChildren(...(this.chosen ? this.likeness(served.typical_distance) : this.groups()));
    if (focused) find("own-grid").querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }

  progress() {
    const bar = find("own-progress");
    bar.hidden = !own.busy;
    Object.assign(bar, { max: own.pictures, value: own.done });
    const words = own.busy ? `${own.done} of ${plural(own.pictures, "picture")}` : own.pictures ? `${plural(own.faces.length, "face")} of ${plural(own.pictures, "picture")}` : "";
    find("own-words").textContent = words;
    if (!own.busy && words && words !== this.said) say((this.said = words));
  }

  skipped() {
    const list = find("own-skipped");
    list.hidden = own.skipped.length === 0;
    list.replaceChildren(
      make("summary", {}, `${plural(own.skipped.length, "picture")} left out`),
      make("ul", {}, own.skipped.map(({ file, problem }) => make("li", {}, skipWords(problem, file)))),
    );
  }

  groups() {
    return grouped(own.faces).map(([first, faces]) =>
      make(
        "section",
        { class: "own-group", "aria-label": first.known ? nameOf(first) : "no known expression" },
        make("h2", {}, dot(first.known ? first.emotion : "other"), first.known ? nameOf(first) : "no known expression", make("span", { class: "group-count" }, ` ${faces.length}`)),
        make("div", { class: "own-faces" }, faces.map((face) => this.face(face))),
      ),
    );
  }

  likeness(typical) {
    const back = make("button", { type: "button", onclick: () => this.choose(null) }, "Group by expression");
    const search = make("a", { class: "button", href: addressOf("search", { picture: this.chosen.key }) }, "Search the gallery with it");
    return [
      make("div", { class: "row between own-chosen" }, make("h2", {}, "By likeness to the chosen face"), make("div", { class: "row" }, search, back)),
      make(
        "div",
        { class: "own-faces large" },
        byLikeness(own.faces, this.chosen).map(([face, far]) => this.face(face, face === this.chosen ? "chosen" : `${closeness(far, typical).words} ${far.toFixed(2)}`)),
      ),
    ];
  }

  face(face, words) {
    const button = make(
      "button",
      { type: "button", class: "own-face", "aria-pressed": String(face === this.chosen), "aria-label": `${face.path}: ${emotionName(face)}${words ? `, ${words}` : ""}`, title: face.path, vars: { "--colour": colour(face.known ? face.emotion : "other") }, onclick: () => this.choose(face) },
      make("img", { src: face.crop ?? "", alt: "", loading: "lazy", width: 160, height: 160 }),
      words && make("span", {}, words),
    );
    button.dataset.key = face.key;
    return button;
  }

  choose(face) {
    this.chosen = face;
    this.update();
    say(face ? `${own.faces.length} faces by likeness to ${face.path}` : "Faces by expression");
    scrollTo(0, 0);
  }
}
