// The part of the address after #, so that back and forward work.
//
//     #/search/picture/3.0    face 0 of the third picture of this tab
//     #/search/id/…           a face of the gallery; emotion, sub_class and mix likewise
//     #/map, #/gallery/…      other views

const KINDS = ["picture", "id", "emotion", "sub_class", "mix"];

/** The address of a search. */
export function addressOf(view, query) {
  if (!query) return `#/${view}`;
  const [kind, value] = Object.entries(query)[0];
  const text = kind === "mix" ? query.mix.map((part) => `${part.query.emotion}:${part.weight}`).join("+") : value;
  return `#/${view}/${kind}/${encodeURIComponent(text)}`;
}

/** View and query of an address. */
export function readAddress(hash) {
  const [view = "", kind, text] = hash.replace(/^#\//, "").split("/");
  if (!kind || !text || !KINDS.includes(kind)) return { view: view || "search", query: null };
  let value;
  try {
    value = decodeURIComponent(text);
  } catch {
    return { view, query: null };
  }
  if (kind !== "mix") return { view, query: { [kind]: value } };
  const mix = value.split("+").map((part) => {
    const [emotion, weight] = part.split(":");
    return { weight: Number(weight), query: { emotion } };
  });
  const isWhole = mix.every((part) => part.query.emotion && part.weight > 0);
  return { view, query: isWhole ? { mix } : null };
}
