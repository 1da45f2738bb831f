// The map: the points of the gallery, ellipses and the query over them.
import { ask } from "./api.js";
import { find, make, whileWorking } from "./dom.js";
import { dot, paint, takeEmotions } from "./emotions.js";
import { Points } from "./points.js";
import { portrait } from "./portraits.js";
import { addressOf } from "./route.js";
import { spread } from "./labels.js";
import { Mixer } from "./mixer.js";
import { OwnOnMap } from "./map_own.js";
import { listen, state } from "./state.js";
import { photograph, sourceOf } from "./thumbnails.js";

const HANDLE_PX = 13;
const NEAR_PX = 9;
const TIP_PX = 280;

export class ExpressionMap {
  constructor() {
    this.canvas = find("map-canvas");
    this.frame = find("map-frame");
    this.context = this.canvas.getContext("2d");
    this.data = null;
    this.view = { x: 0, y: 0, scale: 1 };
    this.filter = null;
    this.hover = null;
    this.drag = null;
    this.pointers = new Map();
    this.byId = new Map();
    this.drawn = 0;
    this.widths = new Map();
    this.points = new Points(() => this.redraw());
  }

  /** Load the map and start it; loads it again if the gallery has changed. */
  async start() {
    const first = !this.data;
    this.loading ??= this.load();
    try {
      await this.loading;
    } finally {
      this.loading = null;
    }
    if (first) this.fit();
    else this.resize();
  }

  async load() {
    const before = this.data;
    try {
      const response = await whileWorking(ask("/map"));
      const tag = response.headers.get("ETag");
      if (before && tag === this.tag) return;
      this.data = await response.json();
      this.tag = tag;
    } catch (problem) {
      if (before) return; // keep the old map
      find("map-words").replaceChildren(make("span", { class: "problem", role: "alert" }, problem.message));
      throw problem;
    }
    takeEmotions(this.data.emotions.map(({ id }) => id));
    this.byId = new Map(this.data.ids.map((id, row) => [id, row]));
    this.points.take(this.data);
    this.words();
    if (before) this.redraw();
    else this.setUp();
  }

  /** Whose faces are shown, and whether all of them. */
  words() {
    const { faces, ids, owned } = this.data;
    const number = (count) => count.toLocaleString("en");
    const whose = owned ? "your gallery" : "the gallery that ships with mien";
    const all = faces > ids.length ? `${number(ids.length)} of the ${number(faces)} faces of ${whose}, drawn evenly` : `${number(faces)} faces of ${whose}`;
    find("map-words").textContent = `The points are ${all}. Those with a photograph show it when you point at them.`;
  }

  setUp() {
    const { canvas } = this;
    new ResizeObserver(() => this.resize()).observe(this.frame);
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", () => this.stop());
    canvas.addEventListener("pointerleave", () => this.tip(null));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("keydown", (event) => this.key(event));
    find("map-in").onclick = () => this.zoom(1.5);
    find("map-out").onclick = () => this.zoom(1 / 1.5);
    find("map-all").onclick = () => this.fit();
    this.legend();
    this.mixer = new Mixer(this.data.emotions.map(({ id }) => id));
    listen(() => this.redraw());
    this.own = new OwnOnMap(this);
    document.addEventListener("mien-theme", () => this.redraw());
  }

  legend() {
    const chip = (region) =>
      make("a", { class: "chip", href: addressOf("map", { emotion: region.id }) }, dot(region.id), region.id);
    find("map-legend").replaceChildren(...this.data.emotions.map(chip));
  }

  /** Where a point of the space is shown. */
  place(embedding) {
    const { middle, axes } = this.data;
    return axes.map((axis) => axis.reduce((sum, value, row) => sum + value * (embedding[row] - middle[row]), 0));
  }

  resize() {
    const box = this.frame.getBoundingClientRect();
    if (!box.width) return;
    const before = this.canvas.width;
    this.ratio = Math.min(2, devicePixelRatio || 1);
    this.canvas.width = Math.round(box.width * this.ratio);
    this.canvas.height = Math.round(box.height * this.ratio);
    if (before !== this.canvas.width || !this.fitted) this.fit();
    else this.redraw();
  }

  fit() {
    if (!this.data || !this.canvas.width || this.frame.clientWidth === 0) return;
    this.fitted = true;
    const { emotions } = this.data;
    // All emotions stay visible even if the gallery has few faces.
    const range = (values, middles) => [
      values.reduce((a, b) => Math.min(a, b), Math.min(...middles)),
      values.reduce((a, b) => Math.max(a, b), Math.max(...middles)),
    ];
    const [left, right] = range(this.data.x, emotions.flatMap((region) => [region.x - region.short, region.x + region.short]));
    const [low, high] = range(this.data.y, emotions.flatMap((region) => [region.y - region.short, region.y + region.short]));
    const scale = 0.92 * Math.min(this.canvas.width / (right - left), this.canvas.height / (high - low));
    this.view = { x: (left + right) / 2, y: (low + high) / 2, scale };
    this.fittedScale = scale;
    this.redraw();
  }

  toScreen(x, y) {
    const { view, canvas } = this;
    return [(x - view.x) * view.scale + canvas.width / 2, (view.y - y) * view.scale + canvas.height / 2];
  }

  toSpace(px, py) {
    const { view, canvas } = this;
    return [(px - canvas.width / 2) / view.scale + view.x, view.y - (py - canvas.height / 2) / view.scale];
  }

  redraw() {
    if (!this.data || this.frame.clientWidth === 0) return;
    this.pending ??= requestAnimationFrame(() => {
      this.pending = null;
      this.draw();
    });
  }

  draw() {
    this.drawn += 1;
    this.points.draw(this.context, this.view, this.ratio);
    this.ellipses();
    this.own.draw();
    this.found();
    this.handles();
  }

  ellipses() {
    const { context, view, ratio } = this;
    for (const [regions, dashes] of [[this.data.emotions, []], [this.data.sub_classes, [5 * ratio, 4 * ratio]]]) {
      context.setLineDash(dashes);
      context.lineWidth = (dashes.length ? 1.1 : 2) * ratio;
      context.globalAlpha = dashes.length ? 0.6 : 1;
      for (const region of regions) {
        const [x, y] = this.toScreen(region.x, region.y);
        context.beginPath();
        context.ellipse(x, y, region.long * view.scale, region.short * view.scale, -region.turn, 0, 2 * Math.PI);
        context.strokeStyle = paint(region.id.split("/")[0]);
        context.stroke();
      }
    }
    context.setLineDash([]);
    context.globalAlpha = 1;
  }

  found() {
    const { context, ratio } = this;
    if (!state.answer) return;
    const ink = paint("ink");
    const [x, y] = this.toScreen(...this.place(state.answer.embedding));
    context.strokeStyle = ink;
    context.lineWidth = ratio;
    for (const match of (state.answer.matches ?? []).slice(0, 24)) {
      const row = this.byId.get(match.id);
      if (row === undefined) continue;
      const [mx, my] = this.toScreen(this.data.x[row], this.data.y[row]);
      context.globalAlpha = 0.35;
      context.beginPath();
      context.moveTo(x, y);
      context.lineTo(mx, my);
      context.stroke();
      context.globalAlpha = 1;
      context.beginPath();
      context.arc(mx, my, 3 * ratio, 0, 2 * Math.PI);
      context.fillStyle = paint(match.emotion);
      context.fill();
      context.stroke();
    }
    context.beginPath();
    context.arc(x, y, 8 * ratio, 0, 2 * Math.PI);
    context.fillStyle = paint("accent");
    context.fill();
    context.lineWidth = 2.5 * ratio;
    context.strokeStyle = paint("paper");
    context.stroke();
  }

  handles() {
    const { context, ratio, drag } = this;
    if (drag?.from) {
      const [x, y] = this.toScreen(drag.from.x, drag.from.y);
      context.beginPath();
      context.moveTo(x, y);
      context.lineTo(drag.px, drag.py);
      context.lineWidth = 3 * ratio;
      context.strokeStyle = paint("accent");
      context.stroke();
    }
    context.font = `600 ${13 * ratio}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (const { region, x, y, width } of this.labels()) {
      const held = drag?.from === region || drag?.over === region || this.hover?.region === region;
      context.beginPath();
      context.roundRect(x - width / 2, y - HANDLE_PX * ratio, width, 2 * HANDLE_PX * ratio, HANDLE_PX * ratio);
      context.fillStyle = held ? paint("ink") : paint("paper");
      context.globalAlpha = 0.92;
      context.fill();
      context.globalAlpha = 1;
      context.lineWidth = 2 * ratio;
      context.strokeStyle = paint(region.id);
      context.stroke();
      context.fillStyle = held ? paint("paper") : paint("ink");
      context.fillText(region.id, x, y + ratio);
    }
  }

  /** The emotions' names: each at its centre, or above or below where names would overlap. */
  labels() {
    const { ratio } = this;
    const label = (region) => {
      const [x, y] = this.toScreen(region.x, region.y);
      return { region, x, y, width: this.width(region.id) + 18 * ratio };
    };
    return spread(this.data.emotions.map(label), 2 * (HANDLE_PX + 1) * ratio);
  }

  /** The width of a name in canvas pixels. */
  width(name) {
    const { context, ratio } = this;
    const key = `${ratio} ${name}`;
    if (!this.widths.has(key)) {
      context.font = `600 ${13 * ratio}px system-ui, sans-serif`;
      this.widths.set(key, context.measureText(name).width);
    }
    return this.widths.get(key);
  }

  /** The emotion or the face under a place of the canvas. */
  under(px, py) {
    const { ratio } = this;
    const name = this.labels().find((label) => Math.abs(px - label.x) <= label.width / 2 && Math.abs(py - label.y) <= HANDLE_PX * ratio);
    if (name) return { region: name.region };
    const picture = this.own.under(px, py);
    if (picture) return { picture };
    const [x, y] = this.toSpace(px, py);
    const reach = (NEAR_PX * ratio) / this.view.scale;
    let best = reach * reach;
    let face = null;
    const { x: xs, y: ys } = this.data;
    for (let row = 0; row < xs.length; row += 1) {
      const far = (xs[row] - x) ** 2 + (ys[row] - y) ** 2;
      if (far < best) [best, face] = [far, row];
    }
    return face === null ? null : { face };
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * this.ratio, (event.clientY - box.top) * this.ratio];
  }

  down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    const [px, py] = this.at(event);
    this.pointers.set(event.pointerId, [px, py]);
    this.tip(null);
    const from = this.pointers.size === 1 ? this.under(px, py)?.region : null;
    this.drag = { from, startX: px, startY: py, px, py, view: { ...this.view }, moved: false };
  }

  move(event) {
    const [px, py] = this.at(event);
    if (!this.pointers.has(event.pointerId)) {
      this.hover = this.under(px, py);
      this.canvas.style.setProperty("cursor", this.hover ? "pointer" : "grab");
      this.tip(this.hover, event);
      if (this.hover?.region !== this.lastRegion) this.redraw();
      this.lastRegion = this.hover?.region;
      return;
    }
    const before = this.spread();
    this.pointers.set(event.pointerId, [px, py]);
    const { drag } = this;
    if (!drag) return;
    if (this.pointers.size > 1) {
      const after = this.spread();
      this.zoom(after.size / before.size, after.x, after.y);
      drag.moved = true;
      return;
    }
    drag.moved ||= Math.hypot(px - drag.startX, py - drag.startY) > 4 * this.ratio;
    Object.assign(drag, { px, py });
    if (drag.from) {
      const over = this.under(px, py)?.region;
      drag.over = over && over !== drag.from ? over : null;
    } else if (drag.moved) {
      this.view = { ...this.view, x: drag.view.x - (px - drag.startX) / this.view.scale, y: drag.view.y + (py - drag.startY) / this.view.scale };
    }
    this.redraw();
  }

  spread() {
    const all = [...this.pointers.values()];
    const x = all.reduce((sum, each) => sum + each[0], 0) / all.length;
    const y = all.reduce((sum, each) => sum + each[1], 0) / all.length;
    return { x, y, size: Math.max(1, Math.hypot(all[0][0] - x, all[0][1] - y)) };
  }

  up(event) {
    const { drag } = this;
    this.stop(event.pointerId);
    if (!drag) return;
    if (drag.from && drag.over) return this.mixer.between(drag.from.id, drag.over.id);
    if (drag.moved) return;
    const under = this.under(drag.px, drag.py);
    if (under?.region) location.hash = addressOf("map", { emotion: under.region.id });
    else if (under?.picture) location.hash = addressOf("map", { picture: under.picture.key });
    else if (under) location.hash = addressOf("map", { id: this.data.ids[under.face] });
  }

  stop(pointer) {
    if (pointer === undefined) this.pointers.clear();
    else this.pointers.delete(pointer);
    this.drag = null;
    this.redraw();
  }

  wheel(event) {
    event.preventDefault();
    this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), ...this.at(event));
  }

  /** Zoom about a place of the canvas, by default its centre. */
  zoom(factor, px = this.canvas.width / 2, py = this.canvas.height / 2) {
    const [x, y] = this.toSpace(px, py);
    const scale = Math.min(20000, Math.max(30, this.view.scale * factor));
    this.view = { scale, x: x - (px - this.canvas.width / 2) / scale, y: y + (py - this.canvas.height / 2) / scale };
    this.tip(null);
    this.redraw();
  }

  key(event) {
    const step = 60 * this.ratio / this.view.scale;
    const steps = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (steps[event.key]) {
      this.view = { ...this.view, x: this.view.x + steps[event.key][0], y: this.view.y + steps[event.key][1] };
      this.redraw();
    } else if (event.key === "+" || event.key === "=") this.zoom(1.3);
    else if (event.key === "-") this.zoom(1 / 1.3);
    else if (event.key === "0") this.fit();
    else return;
    event.preventDefault();
  }

  /** Show the face under the pointer. */
  tip(under, event) {
    const tip = find("map-tip");
    clearTimeout(this.tipTimer);
    if (!under || under.picture) {
      tip.hidden = true;
      return;
    }
    const box = this.frame.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    tip.style.setProperty("--x", `${Math.min(x, box.width - TIP_PX)}px`);
    tip.style.setProperty("--y", `${y > box.height - 130 ? y - 130 : y + 14}px`);
    this.tipTimer = setTimeout(() => {
      const emotion = under.region?.id ?? this.data.emotions[this.data.emotion[under.face]].id;
      const query = under.region ? { emotion } : { id: this.data.ids[under.face] };
      const face = query.id ? photograph(query.id) : portrait(query, "");
      const source = make("span", { class: "source" });
      tip.replaceChildren(face, make("span", {}, make("strong", {}, emotion), make("br"), under.region ? "its centre" : query.id, source));
      if (query.id) sourceOf(query.id).then((words) => (source.textContent = words), () => {});
      tip.hidden = false;
    }, 90);
  }
}
