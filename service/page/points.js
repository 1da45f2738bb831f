// The points of the map: tens of thousands, drawn once into an image that is then moved.
import { paint } from "./emotions.js";

const MARGIN = 0.3;
const MAX_PIXELS = 12e6;
const SETTLED_MS = 140;

/** "#rrggbb" to its three numbers. */
const numbers = (hex) => [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));

export class Points {
  /** @param {() => void} settled called when the image must be drawn sharply again. */
  constructor(settled) {
    this.settled = settled;
    this.canvas = document.createElement("canvas");
    this.context = this.canvas.getContext("2d");
    this.made = null;
    this.image = null;
    this.timer = null;
    document.addEventListener("mien-theme", () => (this.made = null));
  }

  /** Take the points to show. */
  take({ x, y, emotion, emotions }) {
    this.x = Float32Array.from(x);
    this.y = Float32Array.from(y);
    this.emotion = Uint8Array.from(emotion);
    this.names = emotions.map((region) => region.id);
    this.made = null;
  }

  /** Draw the points in a view: { x, y } of its centre and scale, pixels per unit. */
  draw(context, view, ratio) {
    const { width, height } = context.canvas;
    clearTimeout(this.timer);
    let made = this.made;
    const shrink = made ? view.scale / made.scale : 0;
    if (made && made.ratio === ratio && shrink !== 1 && shrink > 0.25 && shrink < 4) {
      // During a zoom the old image is scaled; it is drawn again when the zoom ends.
      this.timer = setTimeout(() => {
        this.made = null;
        this.settled();
      }, SETTLED_MS);
    } else if (!made || made.ratio !== ratio || shrink !== 1 || !this.covers(view, width, height)) {
      made = this.make(view, ratio, width, height);
    }
    const scale = view.scale / made.scale;
    const left = (made.x - view.x) * view.scale + width / 2 - (made.width / 2) * scale;
    const top = (view.y - made.y) * view.scale + height / 2 - (made.height / 2) * scale;
    const round = scale === 1 ? Math.round : (value) => value;
    context.clearRect(0, 0, width, height);
    context.drawImage(this.canvas, round(left), round(top), made.width * scale, made.height * scale);
  }

  /** Whether the image covers the whole view. */
  covers(view, width, height) {
    const { made } = this;
    if (made.width < width || made.height < height) return false;
    return (
      Math.abs(view.x - made.x) * view.scale <= (made.width - width) / 2 && Math.abs(view.y - made.y) * view.scale <= (made.height - height) / 2
    );
  }

  make(view, ratio, seenWidth, seenHeight) {
    const room = Math.sqrt(MAX_PIXELS / (seenWidth * seenHeight));
    const grow = Math.max(1, Math.min(1 + 2 * MARGIN, room));
    const [width, height] = [Math.ceil(seenWidth * grow), Math.ceil(seenHeight * grow)];
    const { canvas, context } = this;
    if (canvas.width !== width || canvas.height !== height) {
      Object.assign(canvas, { width, height });
      this.image = context.createImageData(width, height);
    }
    const words = new Uint32Array(this.image.data.buffer);
    words.fill(0);
    this.write(this.image.data, view, ratio, width, height);
    context.putImageData(this.image, 0, 0);
    this.made = { ...view, ratio, width, height };
    return this.made;
  }

  write(pixels, view, ratio, width, height) {
    const colours = Float32Array.from(this.names.flatMap((name) => numbers(paint(name))));
    const radius = Math.max(1, Math.min(5, Math.sqrt(view.scale / 130)) * ratio * 0.8);
    const reach = Math.ceil(radius);
    const offsets = [];
    const covers = [];
    for (let dy = -reach; dy <= reach; dy += 1)
      for (let dx = -reach; dx <= reach; dx += 1) {
        const cover = Math.min(1, Math.max(0, radius + 0.5 - Math.hypot(dx, dy)));
        if (cover > 0.05) {
          offsets.push((dy * width + dx) * 4);
          covers.push(cover * 0.5);
        }
      }
    const { x: xs, y: ys, emotion } = this;
    const [middleX, middleY] = [width / 2, height / 2];
    for (let row = 0; row < xs.length; row += 1) {
      const cx = Math.round((xs[row] - view.x) * view.scale + middleX);
      const cy = Math.round((view.y - ys[row]) * view.scale + middleY);
      if (cx < reach || cy < reach || cx >= width - reach || cy >= height - reach) continue;
      const colour = emotion[row] * 3;
      const [red, green, blue] = [colours[colour], colours[colour + 1], colours[colour + 2]];
      const at = (cy * width + cx) * 4;
      for (let spot = 0; spot < offsets.length; spot += 1) {
        const pixel = at + offsets[spot];
        const cover = covers[spot];
        const alpha = pixels[pixel + 3] / 255;
        const sum = cover + alpha * (1 - cover);
        const part = cover / sum;
        pixels[pixel] += (red - pixels[pixel]) * part;
        pixels[pixel + 1] += (green - pixels[pixel + 1]) * part;
        pixels[pixel + 2] += (blue - pixels[pixel + 2]) * part;
        pixels[pixel + 3] = sum * 255;
      }
    }
  }
}
