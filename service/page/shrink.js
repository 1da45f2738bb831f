// Large pictures are scaled down in the browser before they are sent: faces stay large enough, and the upload is small.
import { make } from "./dom.js";

const MAX_SIDE = 1280;
const SMALL_BYTES = 1_000_000;
const QUALITY = 0.88;

/** The picture to send of a file: itself where it is small, or where the browser cannot read it. */
export async function shrink(file, { maxSide = MAX_SIDE, smallBytes = SMALL_BYTES } = {}) {
  if (file.size <= smallBytes) return file;
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    return file;
  }
  const scale = Math.min(1, maxSide / Math.max(bitmap.width, bitmap.height));
  const canvas = make("canvas", { width: Math.round(bitmap.width * scale), height: Math.round(bitmap.height * scale) });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#fff"; // a transparent picture is on white, as the service reads it
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return toBlob(canvas, "image/jpeg");
}

const toBlob = (canvas, type) => new Promise((resolve) => canvas.toBlob(resolve, type, QUALITY));

/** A square around each face, with some of its surroundings: small picture files; null where the browser cannot read the picture. */
export async function cropFaces(picture, faces, { side = 160, surroundings = 1.3 } = {}) {
  const bitmap = await createImageBitmap(picture).catch(() => null);
  const crops = await Promise.all(faces.map(({ box }) => bitmap && cropFace(bitmap, box, side, surroundings)));
  bitmap?.close();
  return crops;
}

function cropFace(bitmap, [x, y, w, h], side, surroundings) {
  const size = Math.max(w, h) * surroundings;
  const canvas = make("canvas", { width: side, height: side });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, x + w / 2 - size / 2, y + h / 2 - size / 2, size, size, 0, 0, side, side);
  return toBlob(canvas, "image/webp");
}
