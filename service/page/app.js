// The application: views, addresses, light and dark.
import { askJson } from "./api.js";
import { showAtlas } from "./atlas.js";
import { find } from "./dom.js";
import { takeEmotions } from "./emotions.js";
import { ExpressionMap } from "./map.js";
import { startPictures } from "./picture.js";
import { Results } from "./results.js";
import { readAddress } from "./route.js";
import { clear, listen, search, state } from "./state.js";

const VIEWS = ["search", "map", "atlas", "about"];
const THEME = "mien-theme";
const results = [new Results(find("found"), "search"), new Results(find("map-found"), "map")];
const map = new ExpressionMap();
let shownView = null;

/** Show the view of the address, and run its search. */
function go() {
  const { view: wanted, query } = readAddress(location.hash);
  const view = VIEWS.includes(wanted) ? wanted : "search";
  for (const each of VIEWS) find(each).hidden = each !== view;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${view === "search" ? "" : `${view} · `}mien · expression retrieval`;
  if (query) find("problem").hidden = true;
  if (query && JSON.stringify(query) !== JSON.stringify(state.query)) search(query);
  if (view === "map") map.start().catch(() => {});
  if (view === "atlas") showAtlas();
  if (shownView !== null && shownView !== view) {
    scrollTo(0, 0);
    find("main").focus({ preventScroll: true });
  } else if (query && view === "search" && innerWidth < 900) {
    find("found").scrollIntoView({ block: "start", behavior: "smooth" });
  }
  shownView = view;
}

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  document.dispatchEvent(new Event("mien-theme"));
}

state.leave = clear;
setTheme(localStorage.getItem(THEME));
find("theme").onclick = () => {
  const dark = getComputedStyle(document.documentElement).colorScheme.trim() === "dark";
  localStorage.setItem(THEME, dark ? "light" : "dark");
  setTheme(dark ? "light" : "dark");
};
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setTheme());
for (const each of results) listen(() => each.update());
askJson("/info")
  .then(({ emotions }) => takeEmotions(emotions) && results.forEach((each) => each.update()))
  .catch(() => {}); // without an answer, those of FER+
startPictures();
addEventListener("hashchange", go);
go();
globalThis.mien = { map, state };
