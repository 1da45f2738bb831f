// Your own pictures on the map, where their faces lie.
import { find, make } from "./dom.js";
import { paint } from "./emotions.js";
import { listenOwn, own } from "./own.js";

const SIDE_PX = 34;
const MAX_GROWTH = 3;
const SPRITE_PX = 96;

export class OwnOnMap {
  constructor(map) {
    this.map = map;
    this.faces = new Map();
    find("map-own-shown").onchange = () => map.redraw();
    listenOwn(() => this.take());
    document.addEventListener("mien-theme", () => this.faces.forEach((face) => (face.sprite = null)));
  }

  take() {
    const shown = own.faces.filter(({ crop }) => crop);
    find("map-own").hidden = shown.length === 0;
    this.faces = new Map(shown.map((face) => [face.key, this.faces.get(face.key) ?? this.face(face)]));
    this.map.redraw();
  }

  face(face) {
    const [x, y] = this.map.place(face.embedding);
    const image = new Image();
    image.onload = () => this.map.redraw();
    image.src = face.crop;
    return { key: face.key, emotion: face.known ? face.emotion : "other", image, x, y };
  }

  get shown() {
    return find("map-own-shown").checked ? [...this.faces.values()] : [];
  }

  /** Side of a picture in canvas pixels; it grows with the zoom. */
  side() {
    const { ratio, view, fittedScale } = this.map;
    return SIDE_PX * ratio * Math.min(MAX_GROWTH, Math.max(1, view.scale / fittedScale));
  }

  draw() {
    const { context, canvas } = this.map;
    const side = this.side();
    for (const face of this.shown) {
      const [px, py] = this.map.toScreen(face.x, face.y);
      if (!face.image.complete || px < -side || py < -side || px > canvas.width + side || py > canvas.height + side) continue;
      context.drawImage((face.sprite ??= sprite(face)), px - side / 2, py - side / 2, side, side);
    }
  }

  /** The picture under a place of the canvas, the topmost. */
  under(px, py) {
    const half = this.side() / 2;
    return this.shown.findLast(({ x, y }) => {
      const [cx, cy] = this.map.toScreen(x, y);
      return Math.abs(cx - px) <= half && Math.abs(cy - py) <= half;
    });
  }
}

/** The picture with round corners and a border in the colour of its emotion, drawn once: clipping each at each frame is slow. */
function sprite({ image, emotion }) {
  const canvas = make("canvas", { width: SPRITE_PX, height: SPRITE_PX });
  const context = canvas.getContext("2d");
  const border = SPRITE_PX / 16;
  context.roundRect(border / 2, border / 2, SPRITE_PX - border, SPRITE_PX - border, SPRITE_PX / 5);
  context.save();
  context.clip();
  context.drawImage(image, 0, 0, SPRITE_PX, SPRITE_PX);
  context.restore();
  context.lineWidth = border;
  context.strokeStyle = paint(emotion);
  context.stroke();
  return canvas;
}
