// Boxes around faces, over a picture or a video.
import { make } from "./dom.js";
import { colour } from "./emotions.js";

const NAME_PX = 26; // the height of a name, with its distance from the box
const NAMED = 4; // more faces are named only while they are chosen or pointed at: their names would overlap

/** Fill the layer over a picture of a width and height with a box for each face. */
export function drawBoxes(layer, faces, { width, height, mirrored = false, chosen = -1, onchoose = null }) {
  layer.classList.toggle("crowded", faces.length > NAMED);
  const edge = Math.min(0.5, NAME_PX / (layer.clientHeight || height));
  layer.replaceChildren(...faces.map((face, row) => box(face, row, { width, height, edge, mirrored, chosen, onchoose })));
}

function box(face, row, { width, height, edge, mirrored, chosen, onchoose }) {
  const [x, y, w, h] = face.box;
  const left = (mirrored ? width - x - w : x) / width;
  const [top, share] = [y / height, w / width];
  // The name stands above the box, within the picture.
  const place = [top < edge ? "below" : "", left + share / 2 > 0.6 ? "right" : ""].join(" ");
  return make(
    onchoose ? "button" : "span",
    {
      type: onchoose && "button",
      tabIndex: onchoose ? -1 : undefined, // the keyboard chooses among the faces below the picture
      class: `box ${place} ${row === chosen ? "chosen" : ""}`,
      vars: { "--x": left, "--y": top, "--w": share, "--h": h / height, "--colour": colour(face.known ? face.emotion : "other") },
      onclick: onchoose && (() => onchoose(row)),
    },
    make("span", { class: "box-name" }, face.known ? face.emotion : "no known expression"),
  );
}
