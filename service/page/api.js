// Requests to the service: keys and errors.
import { find } from "./dom.js";

const KEY = "mien-key";

/** An error answer of the service (RFC 9457). */
export class Problem extends Error {
  constructor(status, kind, detail) {
    super(detail);
    this.status = status;
    this.kind = kind;
  }
}

/** The API key that was entered in this tab, if any. */
export const storedKey = () => sessionStorage.getItem(KEY);

let asking = null;

/** Ask the user for a key, in one dialog at a time; resolves to whether one was entered. */
function askForKey(again) {
  asking ??= new Promise((resolve) => {
    const dialog = find("key-dialog");
    const input = find("key");
    find("key-words").textContent = again
      ? "The service does not know that key. Try another."
      : "Ask the person who runs it for a key. It stays in this tab until you close it.";
    input.value = "";
    const done = (given) => {
      find("key-form").onsubmit = find("key-cancel").onclick = dialog.oncancel = null;
      dialog.close();
      asking = null;
      resolve(given);
    };
    find("key-form").onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(KEY, input.value.trim());
      done(true);
    };
    find("key-cancel").onclick = () => done(false);
    dialog.oncancel = () => done(false);
    dialog.showModal();
    input.focus();
  });
  return asking;
}

/** Fetch from the service; asks the user for a key if one is needed. */
export async function ask(path, options = {}) {
  for (;;) {
    const key = storedKey();
    const headers = { ...options.headers };
    if (key) headers["X-API-Key"] = key;
    let response;
    try {
      response = await fetch(path, { ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem(0, "unreachable", "The service cannot be reached. Is it still running?");
    }
    if (response.ok) return response;
    const body = await response.json().catch(() => ({}));
    const kind = String(body.type ?? "").replace("urn:mien:", "");
    // A slow answer may be about a key that has been replaced meanwhile.
    if (response.status === 401 && (key !== storedKey() || (await askForKey(Boolean(key))))) continue;
    throw new Problem(response.status, kind, body.detail ?? `The service answered ${response.status}.`);
  }
}

export async function askJson(path, options) {
  return (await ask(path, options)).json();
}

export function postJson(path, body, options = {}) {
  return ask(path, {
    ...options,
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
}

/** POST pictures as a form; one is answered alone, several each on its own. */
export function postImages(path, blobs, options = {}) {
  const form = new FormData();
  for (const blob of blobs) form.append(blobs.length > 1 ? "images" : "image", blob, "picture");
  return askJson(path, { ...options, method: "POST", body: form });
}

let known = null;

/** What is served: the gallery, the scale of distances, the limits. Asked once, and again after `forgetInfo`. */
export function info() {
  known ??= askJson("/info").catch((problem) => {
    known = null;
    throw problem;
  });
  return known;
}

export function forgetInfo() {
  known = null;
}
