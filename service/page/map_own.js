// Your own pictures on the map, where their faces lie.
import { find } from "./dom.js";
import { paint } from "./emotions.js";
import { listenOwn, own } from "./own.js";

const SIDE_PX = 34;
const MAX_GROWTH = 3;

export class OwnOnMap {
  constructor(map) {
    this.map = map;
    this.faces = new Map();
    find("map-own-shown").onchange = () => map.redraw();
    listenOwn(() => this.take());
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
    image.src = face.crop.url;
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
    const { context, canvas, ratio } = this.map;
    const side = this.side();
    for (const { x, y, image, emotion } of this.shown) {
      const [px, py] = this.map.toScreen(x, y);
      if (!image.complete || px < -side || py < -side || px > canvas.width + side || py > canvas.height + side) continue;
      context.save();
      context.beginPath();
      context.roundRect(px - side / 2, py - side / 2, side, side, side / 4);
      context.lineWidth = 4 * ratio;
      context.strokeStyle = paint(emotion);
      context.stroke();
      context.clip();
      context.drawImage(image, px - side / 2, py - side / 2, side, side);
      context.restore();
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
