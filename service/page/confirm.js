// A question before something is deleted.
import { find } from "./dom.js";

/** Ask; resolves to whether the answer is yes. */
export function confirmed(question, words) {
  const dialog = find("confirm-dialog");
  find("confirm-title").textContent = question;
  find("confirm-words").textContent = words;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => (dialog.onclose = () => resolve(dialog.returnValue === "yes")));
}
