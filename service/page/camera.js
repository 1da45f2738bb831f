// The camera: faces live, where the largest lies on the map, and the nearest photographs while it moves.
import { info, postJson } from "./api.js";
import { drawBoxes } from "./boxes.js";
import { CameraMap } from "./camera_map.js";
import { find, make } from "./dom.js";
import { dot } from "./emotions.js";
import { look } from "./look.js";
import { watch } from "./live.js";
import { addressOf } from "./route.js";
import { PHOTOGRAPHED } from "./state.js";
import { photograph } from "./thumbnails.js";
import { closeness, creditsOf, nameOf, tooltipOf } from "./words.js";

const NEAREST = 6;
const PAUSE_MS = 350;
const MOVED = 0.25; // of the typical distance of two faces of one emotion: less is the same grimace

export class Camera {
  constructor() {
    this.stream = null;
    this.unwatch = null;
    this.map = new CameraMap(find("camera-map"));
    this.searched = null;
    this.busy = false;
    find("camera-start").onclick = () => this.start();
    find("camera-stop").onclick = () => {
      this.stop();
      find("camera-start").focus();
    };
    find("freeze").onclick = () => (this.unwatch ? this.freeze() : this.thaw());
    find("frozen-search").onclick = () => this.search();
  }

  /** Draw the map before the camera runs. */
  show() {
    this.map.start().catch((problem) => say(problem.message));
  }

  async start() {
    if (!navigator.mediaDevices) return say("The camera needs an address that starts with https, or this machine itself.");
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user", width: { ideal: 1280 } } });
    } catch {
      return say("The camera cannot be used: it is busy, missing, or not allowed for this page.");
    }
    find("video").srcObject = this.stream;
    await find("video").play();
    for (const [id, shown] of [["camera-start", false], ["freeze", true], ["camera-stop", true]]) find(id).hidden = !shown;
    find("freeze").focus();
    this.thaw();
  }

  thaw() {
    say("Looking for faces…");
    find("freeze").textContent = "Freeze";
    find("frozen-search").hidden = true;
    find("video").play();
    this.unwatch = watch(find("video"), (faces, size) => this.showFaces(faces, size), () => say("The service does not answer the camera now. Stop, and start it again."));
  }

  freeze() {
    this.unwatch();
    this.unwatch = null;
    find("video").pause();
    find("freeze").textContent = "Go on";
    find("frozen-search").hidden = false;
    say("Frozen.");
  }

  showFaces(faces, size) {
    drawBoxes(find("camera-boxes"), faces, { width: size.width, height: size.height, mirrored: true, chosen: 0 });
    const [face] = faces;
    say(face ? (face.known ? nameOf(face) : "No known expression") : "No face yet: look into the camera.");
    if (!face?.embedding) return;
    this.map.move(face.embedding, face.emotion);
    this.nearest(face.embedding);
  }

  /** Search for a point that has moved; one request at a time. */
  async nearest(embedding) {
    if (this.busy) return;
    this.busy = true;
    try {
      const { typical_distance: typical } = await info();
      const moved = this.searched ? Math.hypot(...embedding.map((value, row) => value - this.searched[row])) : Infinity;
      if (moved < MOVED * typical.same_emotion) return;
      this.searched = embedding;
      const { matches } = await (await postJson("/retrieve", { query: { embedding }, k: NEAREST, filter: PHOTOGRAPHED })).json();
      find("camera-hint").hidden = matches.length > 0;
      find("camera-found").replaceChildren(...matches.map((match) => found(match, typical)));
      find("camera-sources").textContent = creditsOf(matches);
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    } catch (problem) {
      say(problem.message);
    } finally {
      this.busy = false;
    }
  }

  search() {
    const video = find("video");
    const canvas = make("canvas", { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => look(blob), "image/jpeg", 0.92);
  }

  stop() {
    this.unwatch?.();
    this.unwatch = null;
    this.searched = null;
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    if (this.stream) say("");
    this.stream = null;
    find("video").srcObject = null;
    find("camera-boxes").replaceChildren();
    for (const [id, shown] of [["camera-start", true], ["freeze", false], ["frozen-search", false], ["camera-stop", false]]) find(id).hidden = !shown;
  }
}

function say(words) {
  if (find("camera-words").textContent !== words) find("camera-words").textContent = words;
}

function found(match, typical) {
  const near = closeness(match.distance, typical);
  return make("li", {}, make("a", { href: addressOf("search", { id: match.id }), title: tooltipOf(match), "aria-label": `${nameOf(match)}, ${near.words}. Search with this face` }, photograph(match.id), make("span", { class: "match-name" }, dot(match.emotion), near.words)));
}
