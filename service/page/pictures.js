// Pictures that were looked at in this tab: kept in its memory only, and gone with it.
import { postImages } from "./api.js";
import { cropFaces, shrink } from "./shrink.js";

const pictures = [];

/** Send a picture file, scaled down if it is large, and keep it; resolves to its number. Throws what the service answers. */
export async function addPicture(file, { cropped = false, onReady, signal } = {}) {
  const blob = await shrink(file);
  const url = URL.createObjectURL(blob);
  onReady?.(url);
  const { faces } = await postImages(`/embed?already_cropped=${cropped}`, [blob], { signal });
  const crops = faces.length > 1 ? await cropUrls(blob, faces) : [null];
  return pictures.push({ file, blob, url, cropped, faces, crops }) - 1;
}

/** Keep a picture whose faces are known, with a small picture of each; resolves to its number and itself. */
export async function keepPicture(file, blob, faces) {
  const picture = { file, blob, url: URL.createObjectURL(blob), cropped: false, faces, crops: await cropUrls(blob, faces) };
  return { number: pictures.push(picture) - 1, picture };
}

const cropUrls = async (blob, faces) => (await cropFaces(blob, faces)).map((crop) => crop && URL.createObjectURL(crop));

/** The picture and the face that an address names, "3.0", or null if this tab does not have them. */
export function pictureFace(text) {
  const [number, row] = text.split(".").map(Number);
  const picture = pictures[number];
  return picture?.faces[row] ? { picture, number, row, face: picture.faces[row] } : null;
}
