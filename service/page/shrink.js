// Large pictures are scaled down in the browser before they are sent: faces stay large enough, and the upload is small.
import { make } from "./dom.js";

const MAX_SIDE = 1280;
const SMALL_BYTES = 400_000;
const QUALITY = 0.88;

/** A picture file as it is sent, upright, and its size in pixels; one that the browser cannot read is sent as it is. */
export async function shrink(file, maxSide = MAX_SIDE) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    return { blob: file, width: null, height: null, bitmap: null };
  }
  const scale = Math.min(1, maxSide / Math.max(bitmap.width, bitmap.height));
  if (scale === 1 && file.size <= SMALL_BYTES) return { blob: file, width: bitmap.width, height: bitmap.height, bitmap };
  const canvas = make("canvas", { width: Math.round(bitmap.width * scale), height: Math.round(bitmap.height * scale) });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#fff"; // a transparent picture is on white, as the service reads it
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
  return { blob, width: canvas.width, height: canvas.height, bitmap: canvas };
}

/** A square around a face, with some of its surroundings, as a small picture: { blob, url }. */
export async function cropFace(bitmap, [x, y, w, h], { side = 160, surroundings = 1.3 } = {}) {
  const size = Math.max(w, h) * surroundings;
  const canvas = make("canvas", { width: side, height: side });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, x + w / 2 - size / 2, y + h / 2 - size / 2, size, size, 0, 0, side, side);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/webp", QUALITY));
  return { blob, url: URL.createObjectURL(blob) };
}
