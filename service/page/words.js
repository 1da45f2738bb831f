// Words for what the service answers in numbers, ids and kinds of problems.

/** An emotion's sub-class in words: "happiness, closed smile"; without a name, "happiness 2". */
export function nameOf({ emotion, sub_class: id, sub_class_name: name }) {
  const [of, kind] = (name ?? id ?? emotion ?? "").split("/");
  if (!kind) return of || "no emotion";
  return /^\d+$/.test(kind) ? `${of} ${kind}` : `${of}, ${kind}`;
}

/** The emotion that the mixture gives a face. */
export const emotionOf = ({ emotion, sub_class: id }) => id?.split("/")[0] ?? emotion;

/** The sub-class alone, where its emotion is said beside it: "closed smile". */
export function kindOf(id, names = {}) {
  const [of, kind] = (names[id] ?? id).split("/");
  return /^\d+$/.test(kind ?? "") ? `${of} ${kind}` : (kind ?? of);
}

/** The same of a face, whose answer has the name. */
export const kindOfFace = ({ sub_class: id, sub_class_name: name }) => kindOf(id, name ? { [id]: name } : {});

// Shares of the typical distance of two faces of one emotion; beyond the last, a match is far.
const STEPS = [
  [0.3, "very close"],
  [0.65, "close"],
  [1, "similar"],
  [1.35, "related"],
];

/** How near a match is, in words, and whether it is too far to be called similar. */
export function closeness(distance, typical) {
  const share = distance / typical.same_emotion;
  const step = STEPS.find(([most]) => share <= most);
  return { words: step?.[1] ?? "far", far: !step, share: Math.min(1, distance / typical.other_emotion) };
}

const MAX_SOURCES = 6; // in one line

/** Where photographs come from and under which terms, each source once. */
export function sourcesOf(faces) {
  const source = ({ metadata: { source, attribution, licence } = {} }) => [source, attribution, attribution?.includes(licence) ? null : licence].filter(Boolean).join(", ");
  return [...new Set(faces.map(source))].filter(Boolean);
}

/** The same in one line, or nothing where no face says where it comes from. */
export function creditsOf(faces) {
  const sources = sourcesOf(faces);
  return sources.length ? `Photographs: ${sources.slice(0, MAX_SOURCES).join("; ")}.` : "";
}

/** What a photograph shows, where it comes from, and its id. */
export const tooltipOf = (face) => [face.metadata?.caption, ...sourcesOf([face]), face.id].filter(Boolean).join(" · ");

// Reasons to doubt an answer about a face, as the service names them.
const DOUBTS = {
  untypical: "it is unlike the known expressions",
  small: "it has few pixels",
  blurred: "it is blurred",
  turned: "it is turned away",
  cut_off: "a part of it is outside the picture",
  mouth_covered: "its mouth is covered",
  eyes_covered: "its eyes are covered",
};

/** "Take this with care: it is blurred." or null where nothing speaks against the answer. */
export function doubtsAbout({ reasons = [], known }) {
  const words = (reasons.length || known ? reasons : ["untypical"]).map((reason) => DOUBTS[reason] ?? reason);
  return words.length ? `Take this face with care: ${words.join(", ")}.` : null;
}

export const number = (count) => count.toLocaleString("en");

export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

/** Words for a problem with a picture: what is wrong, and what helps. */
export function problemWords(problem, file) {
  const name = file?.name ? `“${file.name}”` : "The picture";
  const heic = /\.(heic|heif)$/i.test(file?.name ?? "") || /hei[cf]/.test(file?.type ?? "");
  switch (problem.kind) {
    case "no-face":
      return `There is none in ${file?.name ? name : "the picture"}, or it is too small or turned away. Try a picture in which a face is larger and looks at the camera.`;
    case "unsupported-image":
      return heic
        ? `${name} is a HEIC photograph, which this service cannot read. Save it as JPEG, or set the camera to “most compatible”.`
        : `${name} is no picture that mien can read. JPEG, PNG, WebP, AVIF, GIF, BMP and TIFF work.`;
    case "broken-image":
    case "empty-image":
      return `${name} is damaged or empty.`;
    case "image-too-large":
    case "body-too-large":
      return `${name} is too large for this service. Make it smaller, then try again.`;
    case "busy":
      return "The service is busy. Try again in a moment.";
    case "rate":
      return "Too many requests at once. Try again in a moment.";
    default:
      return problem.message;
  }
}

/** The same for one of several pictures. */
export const skipWords = (problem, file) => (problem.kind === "no-face" ? `No face was found in “${file.name}”.` : problemWords(problem, file));

/** Words with a capital letter at the start and a full stop at the end. */
export const sentence = (words) => `${words.charAt(0).toUpperCase()}${words.slice(1)}${/[.?!]$/.test(words) ? "" : "."}`;
