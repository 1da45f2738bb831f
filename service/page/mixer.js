// The form that searches between two emotions, with the average face there.
import { find, make } from "./dom.js";
import { show } from "./portraits.js";
import { addressOf } from "./route.js";

/** The query between two emotions, at a percentage of the way from the first to the second. */
function mixOf(a, b, share) {
  if (share <= 0 || a === b) return { emotion: a };
  if (share >= 100) return { emotion: b };
  return { mix: [{ weight: (100 - share) / 100, query: { emotion: a } }, { weight: share / 100, query: { emotion: b } }] };
}

export class Mixer {
  constructor(emotions) {
    [this.a, this.b, this.share] = ["mix-a", "mix-b", "mix-share"].map(find);
    for (const [select, chosen] of [[this.a, "happiness"], [this.b, "surprise"]]) {
      select.replaceChildren(...emotions.map((emotion) => make("option", { value: emotion, selected: emotion === chosen }, emotion)));
    }
    this.a.onchange = this.b.onchange = this.share.oninput = () => this.preview();
    find("mix").onsubmit = (event) => {
      event.preventDefault();
      this.go();
    };
    this.preview();
  }

  query() {
    return mixOf(this.a.value, this.b.value, Number(this.share.value));
  }

  preview() {
    show(find("mix-portrait"), this.query());
  }

  go() {
    location.hash = addressOf("map", this.query());
  }

  /** Search half of the way between two emotions. */
  between(a, b) {
    Object.assign(this.a, { value: a });
    Object.assign(this.b, { value: b });
    this.share.value = 50;
    this.preview();
    this.go();
  }
}
