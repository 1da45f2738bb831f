// The map beside the camera: the emotions as ellipses, and where the face in the camera lies, with its trail.
import { askJson } from "./api.js";
import { paint } from "./emotions.js";
import { spread } from "./labels.js";

const TRAIL = 24;
const MARGIN = 0.08;

export class CameraMap {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.trail = [];
    this.data = null;
    document.addEventListener("mien-theme", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  async start() {
    this.trail = [];
    this.data ??= await askJson("/map");
    this.draw();
  }

  /** The face has moved to a point of the space. */
  move(embedding, emotion) {
    if (!this.data) return;
    const { middle, axes } = this.data;
    const [x, y] = axes.map((axis) => axis.reduce((sum, value, row) => sum + value * (embedding[row] - middle[row]), 0));
    this.trail = [...this.trail.slice(1 - TRAIL), { x, y, emotion }];
    this.pending ??= requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.pending = null;
    const { canvas, context, data } = this;
    const ratio = Math.min(2, devicePixelRatio || 1);
    const [width, height] = [canvas.clientWidth * ratio, canvas.clientHeight * ratio];
    if (!width || !data) return;
    Object.assign(canvas, { width, height });
    const regions = data.emotions;
    const reach = (key, sign) => Math.max(...regions.map((region) => sign * region[key] + region.long));
    const [left, right, low, high] = [-reach("x", -1), reach("x", 1), -reach("y", -1), reach("y", 1)];
    const scale = (1 - 2 * MARGIN) * Math.min(width / (right - left), height / (high - low));
    const at = (x, y) => [width / 2 + (x - (left + right) / 2) * scale, height / 2 - (y - (low + high) / 2) * scale];
    for (const region of regions) this.region(region, at, scale, ratio);
    this.names(regions, at, ratio);
    this.face(at, ratio);
  }

  region(region, at, scale, ratio) {
    const { context } = this;
    const [x, y] = at(region.x, region.y);
    context.beginPath();
    context.ellipse(x, y, region.long * scale, region.short * scale, -region.turn, 0, 2 * Math.PI);
    context.globalAlpha = 0.14;
    context.fillStyle = context.strokeStyle = paint(region.id);
    context.fill();
    context.globalAlpha = 1;
    context.lineWidth = 1.5 * ratio;
    context.stroke();
  }

  names(regions, at, ratio) {
    const { context } = this;
    context.font = `600 ${12 * ratio}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.fillStyle = paint("ink");
    const label = ({ id, x, y }) => ({ id, x: at(x, y)[0], y: at(x, y)[1], width: context.measureText(id).width });
    for (const { id, x, y } of spread(regions.map(label), 14 * ratio)) context.fillText(id, x, y + 4 * ratio);
  }

  face(at, ratio) {
    const { context, trail } = this;
    trail.forEach(({ x, y }, place) => {
      context.globalAlpha = (0.5 * (place + 1)) / trail.length;
      context.beginPath();
      context.arc(...at(x, y), (place === trail.length - 1 ? 9 : 3) * ratio, 0, 2 * Math.PI);
      context.fillStyle = paint("accent");
      if (place === trail.length - 1) context.globalAlpha = 1;
      context.fill();
    });
    context.globalAlpha = 1;
    if (!trail.length) return;
    context.lineWidth = 2.5 * ratio;
    context.strokeStyle = paint("paper");
    context.stroke();
  }
}
