// Keeping your own pictures as a gallery, where the service may write.
import { info } from "./api.js";
import { find, say } from "./dom.js";
import { addToGallery, READ_ONLY } from "./gallery_adding.js";
import { own } from "./own.js";
import { pictureFace } from "./pictures.js";
import { plural } from "./words.js";

/** Add every picture with all of its faces to the gallery of the service, with its path and thumbnails. */
export async function keepAsGallery() {
  const words = find("own-kept");
  const button = find("own-keep");
  words.hidden = false;
  button.disabled = true;
  try {
    const { gallery } = await info();
    if (gallery.read_only) words.textContent = READ_ONLY;
    else {
      const pictures = [...new Map(own.faces.map(({ key, path }) => [pictureFace(key).picture, path]))];
      const entries = pictures.map(([{ blob, file }, path]) => ({ blob, file, item: { id: path, metadata: { path } } }));
      const progress = (done) => (words.textContent = `Keeping ${done} of ${plural(entries.length, "picture")}…`);
      const count = await addToGallery(entries, progress, { faces: "all", thumbnails: true });
      words.textContent = `${[
        `${plural(count.added, "face")} added to your gallery`,
        count.unchanged && `${count.unchanged} were there already`,
        count.skipped.length && `${count.skipped.length} were not taken`,
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
