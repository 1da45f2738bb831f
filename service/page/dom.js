// Creating and finding elements.

/** An element with properties, attributes (dashed or aria) and children. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "vars") for (const [key, each] of Object.entries(value)) element.style.setProperty(key, each);
    else if (name.includes("-") || name === "role" || name === "for") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const find = (id) => document.getElementById(id);

/** Announce something to screen readers. */
export function say(words) {
  find("status").textContent = words;
}

let working = 0;

/** Show the progress bar while a promise is pending. */
export async function whileWorking(promise) {
  working += 1;
  find("progress").hidden = false;
  try {
    return await promise;
  } finally {
    working -= 1;
    find("progress").hidden = working === 0;
  }
}

