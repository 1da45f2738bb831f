// Pictures that were looked at in this tab: kept in its memory only, and gone with it.
import { postImages } from "./api.js";
import { cropFace, shrink } from "./shrink.js";

const pictures = [];

/** Send a picture file, scaled down, and keep it with its faces; resolves to its number. Throws what the service answers. */
export async function addPicture(file, { cropped = false, onReady, signal } = {}) {
  const { blob, width, height, bitmap } = await shrink(file);
  const url = URL.createObjectURL(blob);
  onReady?.(url);
  const { faces } = await postImages(`/embed?already_cropped=${cropped}`, [blob], { signal });
  const { number } = await keepPicture({ file, blob, width, height, url, cropped, faces, bitmap });
  return number;
}

/** Keep a picture whose faces are known, with a small picture of each face: { blob, url }. */
export async function keepPicture({ bitmap, url, ...rest }) {
  const crops = bitmap ? await Promise.all(rest.faces.map((face) => cropFace(bitmap, face.box))) : rest.faces.map(() => null);
  bitmap?.close?.();
  const picture = { ...rest, url: url ?? URL.createObjectURL(rest.blob), crops };
  return { picture, number: pictures.push(picture) - 1 };
}

/** The picture and the face that an address names, "3.0", or null if this tab does not have them. */
export function pictureFace(text) {
  const [number, row] = text.split(".").map(Number);
  const picture = pictures[number];
  return picture?.faces[row] ? { picture, number, row, face: picture.faces[row] } : null;
}
