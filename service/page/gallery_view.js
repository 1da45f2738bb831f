// The gallery to work with: browse, filter, add by dropping; a face opens into its own view.
import { askJson, info } from "./api.js";
import { find, make, say, whileWorking } from "./dom.js";
import { dot } from "./emotions.js";
import { showFace } from "./gallery_face.js";
import { addToGallery, READ_ONLY } from "./gallery_adding.js";
import { addressOf } from "./route.js";
import { PHOTOGRAPHED, RATED } from "./state.js";
import { photograph } from "./thumbnails.js";
import { creditsOf, emotionOf, kindOf, nameOf, number, plural, skipWords, tooltipOf } from "./words.js";

const PAGE = 60;
const DAY_MS = 86_400_000;

export class GalleryView {
  constructor() {
    this.next = null;
    this.faces = []; // that are listed
    this.running = null;
    const form = find("gallery-filter");
    form.onsubmit = (event) => event.preventDefault();
    form.onchange = () => this.list();
    form.onreset = () => setTimeout(() => this.list());
    find("gallery-more").onclick = () => this.list(this.next);
    find("gallery-add").onclick = () => find("file").click();
  }

  /** Show the list, or the face that an address names. */
  async show(query) {
    find("gallery-list").hidden = Boolean(query?.id);
    find("gallery-face").hidden = !query?.id;
    if (query?.id) return showFace(query.id);
    const served = await info().catch(() => null);
    for (const id of ["gallery-add", "gallery-all-faces"]) find(id).hidden = served?.gallery.read_only ?? true;
    const rated = served && !served.gallery.read_only ? await askJson(`/gallery?${new URLSearchParams({ limit: 1, statistics: false, filter: JSON.stringify(RATED) })}`).catch(() => null) : null;
    find("gallery-rated").hidden = rated?.count === 0; // a gallery of one's own has faces of FER+ only where it was seeded
    find("gallery-lead").textContent = served?.gallery.read_only
      ? "The gallery that ships with mien: photographs that are free to show, and FER+ as points. It is read-only; start mien with a folder (MIEN_GALLERY) for your own."
      : "Your gallery. Drop pictures anywhere here to add their faces, with a small picture of each.";
    return this.list();
  }

  /** The filter of the form, as the service takes it. */
  filter() {
    const { emotion, sub_class: subClass, label, subject, from, to, photographed } = find("gallery-filter").elements;
    const parts = [
      emotion.value && { emotion: emotion.value },
      subClass.value && { sub_class: subClass.value },
      label.value && { label: label.value === "(none)" ? null : label.value },
      subject.value.trim() && { subject: subject.value.trim() },
      from.value && { time: { gte: from.value } },
      to.value && { time: { lt: new Date(Date.parse(to.value) + DAY_MS).toISOString().slice(0, 10) } },
      photographed.checked && PHOTOGRAPHED,
    ].filter(Boolean);
    return parts.length ? { and: parts } : null;
  }

  /** The first page, or the one after another. */
  async list(after = null) {
    this.running?.abort();
    const { signal } = (this.running = new AbortController());
    const parameters = new URLSearchParams({ limit: PAGE, statistics: !after });
    const filter = this.filter();
    if (filter) parameters.set("filter", JSON.stringify(filter));
    if (after) parameters.set("after", after);
    try {
      const page = await whileWorking(askJson(`/gallery?${parameters}`, { signal }));
      const cards = page.faces.map(card);
      if (after) find("gallery-faces").append(...cards);
      else find("gallery-faces").replaceChildren(...cards);
      if (after) cards[0]?.querySelector("a").focus();
      this.faces = after ? [...this.faces, ...page.faces] : page.faces;
      find("gallery-sources").textContent = creditsOf(this.faces);
      this.next = page.next;
      find("gallery-more").hidden = !page.next;
      const words = page.count ? plural(page.count, "face") : "No face passes this filter.";
      find("gallery-words").textContent = words;
      say(words);
      if (page.statistics) await this.options(page.statistics);
    } catch (problem) {
      if (problem.name !== "AbortError") find("gallery-words").textContent = problem.message;
    }
  }

  /** What can be chosen, with how many faces the whole gallery has of it. */
  async options({ emotions, labels, sub_classes: subClasses }) {
    const { sub_classes: names } = await info();
    const { emotion, sub_class: subClass, label } = find("gallery-filter").elements;
    fill(emotion, "any emotion", Object.entries(emotions).filter(([id]) => id));
    const own = Object.entries(subClasses).filter(([id]) => id && (!emotion.value || id.startsWith(`${emotion.value}/`)));
    fill(subClass, "any class", own, (id) => (emotion.value ? kindOf(id, names) : nameOf({ sub_class: id, sub_class_name: names[id] })));
    fill(label, "any label", Object.entries(labels).map(([id, count]) => [id || "(none)", count]));
  }

  async add(files) {
    const words = find("gallery-added");
    words.hidden = false;
    try {
      if ((await info()).gallery.read_only) return (words.textContent = READ_ONLY);
      const entries = files.map((file) => {
        const path = file.webkitRelativePath || file.name;
        return { file, item: { id: path, metadata: { path } } };
      });
      words.textContent = `Adding ${plural(files.length, "picture")}…`;
      const count = await addToGallery(entries, (done) => (words.textContent = `Added ${done} of ${files.length}…`), {
        faces: find("gallery-all").checked ? "all" : "largest",
        thumbnails: true,
      });
      const reasons = count.skipped.map(({ file, problem }) => make("li", {}, skipWords(problem, file)));
      words.replaceChildren(`${plural(count.added, "face")} added${count.unchanged ? `, ${count.unchanged} were there already` : ""}.`, reasons.length ? make("ul", {}, reasons) : "");
      say(words.textContent);
      await this.list();
    } catch (problem) {
      words.textContent = problem.message;
    }
  }
}

function fill(select, any, counts, words = (id) => id) {
  const { value } = select;
  const options = counts.sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true }));
  select.replaceChildren(make("option", { value: "" }, any), ...options.map(([id, count]) => make("option", { value: id }, `${words(id)} (${number(count)})`)));
  select.value = options.some(([id]) => id === value) ? value : "";
}

function card(face) {
  const emotion = emotionOf(face);
  return make(
    "li",
    { class: "match" },
    make("a", { class: "match-picture", href: addressOf("gallery", { id: face.id }), title: tooltipOf(face) }, photograph(face.id), make("span", { class: "visually-hidden" }, face.metadata.caption ?? face.id)),
    make("p", { class: "match-name" }, dot(emotion), make("span", {}, nameOf(face))),
    make("p", { class: "match-label" }, [face.subject, face.label && face.label !== emotion && `labelled ${face.label}`].filter(Boolean).join(" · ") || face.id),
  );
}
