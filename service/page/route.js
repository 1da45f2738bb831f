// The part of the address after #, so that back and forward work.

/** The address of a search. */
export function addressOf(view, query) {
  if (!query) return `#/${view}`;
  const [kind, value] = Object.entries(query)[0];
  if (kind === "embedding") return `#/${view}`;
  const text = kind === "mix" ? query.mix.map((part) => `${part.query.emotion}:${part.weight}`).join("+") : value;
  return `#/${view}/${kind}/${encodeURIComponent(text)}`;
}

/** View and query of an address. */
export function readAddress(hash) {
  const [view = "search", kind, text] = hash.replace(/^#\//, "").split("/");
  if (!kind || !text) return { view: view || "search", query: null };
  const value = decodeURIComponent(text);
  if (kind === "mix") {
    const mix = value.split("+").map((part) => {
      const [emotion, weight] = part.split(":");
      return { weight: Number(weight), query: { emotion } };
    });
    return { view, query: { mix } };
  }
  return ["id", "emotion", "sub_class"].includes(kind) ? { view, query: { [kind]: value } } : { view, query: null };
}
