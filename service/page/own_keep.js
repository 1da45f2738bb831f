// Keeping your own pictures as a gallery, where the service may write.
import { info } from "./api.js";
import { find, say } from "./dom.js";
import { addToGallery, READ_ONLY } from "./gallery_adding.js";
import { own } from "./own.js";
import { pictureFace } from "./pictures.js";
import { cropFaces } from "./shrink.js";
import { plural } from "./words.js";

const SURROUNDINGS = 2.2; // of the box: the service finds the face again, and no other that is larger
const SIDE = 480;

/** Add every face to the gallery of the service, with its path; the service finds it again in its part of the picture. */
export async function keepAsGallery() {
  const words = find("own-kept");
  const button = find("own-keep");
  words.hidden = false;
  button.disabled = true;
  try {
    const { gallery } = await info();
    if (gallery.read_only) words.textContent = READ_ONLY;
    else {
      const entries = await Promise.all(own.faces.map(entry));
      const count = await addToGallery(entries, (done) => (words.textContent = `Keeping ${done} of ${plural(entries.length, "face")}…`));
      words.textContent = `${[
        `${plural(count.added, "face")} added to your gallery`,
        count.unchanged && `${count.unchanged} were there already`,
        count.skipped.length && `${count.skipped.length} were not taken`,
        !gallery.keeps_thumbnails && "this service keeps no pictures of them (MIEN_GALLERY_THUMBNAILS)",
      ]
        .filter(Boolean)
        .join("; ")}.`;
    }
  } catch (problem) {
    words.textContent = problem.message;
  } finally {
    button.disabled = false;
    say(words.textContent);
  }
}

async function entry({ key, path }) {
  const { picture, face, row } = pictureFace(key);
  if (picture.faces.length === 1) return { blob: picture.blob, file: picture.file, item: { id: path, metadata: { path } } };
  const [blob] = await cropFaces(picture.blob, [face], { side: SIDE, surroundings: SURROUNDINGS });
  return { blob: blob ?? picture.blob, file: picture.file, item: { id: `${path}#${row + 1}`, metadata: { path } } };
}
