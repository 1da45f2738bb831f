// The application: views, addresses, light and dark.
import { showAtlas } from "./atlas.js";
import { Camera } from "./camera.js";
import { find } from "./dom.js";
import { GalleryView } from "./gallery_view.js";
import { look, stopLooking, takeFiles } from "./look.js";
import { ExpressionMap } from "./map.js";
import { addOwn } from "./own.js";
import { OwnView } from "./own_view.js";
import { pictureFace } from "./pictures.js";
import { QueryPanel } from "./query.js";
import { Results } from "./results.js";
import { readAddress } from "./route.js";
import { showStart } from "./start.js";
import { clear, listen, loadInfo, search, state } from "./state.js";

const VIEWS = ["search", "pictures", "camera", "map", "gallery", "atlas", "about"];
const THEME = "mien-theme";
const map = new ExpressionMap();
const camera = new Camera();
const galleryView = new GalleryView();
const ownView = new OwnView();
const shown = [new QueryPanel(find("query"), startOver), new Results(find("found"), "search"), new Results(find("map-found"), "map")];
let shownView = null;

/** Show the view of the address, and run its search. */
function go() {
  const { view: wanted, query } = readAddress(location.hash);
  const view = VIEWS.includes(wanted) ? wanted : "search";
  for (const each of VIEWS) find(each).hidden = each !== view;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === view) {
      link.setAttribute("aria-current", "page");
      link.scrollIntoView?.({ block: "nearest", inline: "nearest" });
    } else link.removeAttribute("aria-current");
  }
  document.title = `${view === "search" ? "" : `${view} · `}mien · expression retrieval`;
  searchFor(view, query);
  for (const each of shown) each.update();
  if (view === "map") map.start().catch(() => {});
  if (view === "atlas") showAtlas();
  if (view === "pictures") ownView.update();
  if (view === "gallery") galleryView.show(query);
  if (view === "camera") camera.show();
  else camera.stop();
  if (shownView !== null && (shownView !== view || query)) {
    scrollTo(0, 0);
    if (shownView !== view) find("main").focus({ preventScroll: true });
  }
  shownView = view;
}

/** The search of an address; the start of the search view if there is none. */
function searchFor(view, query) {
  if (view !== "search" && view !== "map") return;
  if (query?.picture && !pictureFace(query.picture)) {
    query = null; // kept in another tab's memory, or in this one's before it was loaded again
    history.replaceState(null, "", `#/${view}`);
  }
  if (!query && location.hash.startsWith(`#/${view}/`)) history.replaceState(null, "", `#/${view}`); // a broken address
  if (query) find("problem").hidden = true;
  if (query && JSON.stringify(query) !== JSON.stringify(state.query)) search(query);
  if (!query && view === "search") clear();
}

function showAnswer() {
  const any = Boolean(state.query || state.pending);
  find("start").hidden = any;
  find("answer").hidden = !any;
  if (!any) showStart();
}

function startOver() {
  stopLooking();
  find("problem").hidden = true;
  if (location.hash === "#/search") clear();
  else location.hash = "#/search";
  find("choose").focus();
}

/** One picture is searched with; several, or any in the view of your pictures, join those; in the gallery they are added to it. */
function take(files) {
  if (shownView === "gallery") return galleryView.add(files);
  if (files.length === 1 && shownView !== "pictures") return look(files[0]);
  location.hash = "#/pictures";
  addOwn(files);
}

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  document.dispatchEvent(new Event("mien-theme"));
}

setTheme(localStorage.getItem(THEME));
find("theme").onclick = () => {
  const dark = getComputedStyle(document.documentElement).colorScheme.trim() === "dark";
  localStorage.setItem(THEME, dark ? "light" : "dark");
  setTheme(dark ? "light" : "dark");
};
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setTheme());
for (const each of shown) listen(() => each.update());
listen(showAnswer);
loadInfo().then((differ) => differ && showStart());
find("choose").onclick = () => find("file").click();
takeFiles(take);
addEventListener("hashchange", go);
go();
globalThis.mien = { map, camera, state };
