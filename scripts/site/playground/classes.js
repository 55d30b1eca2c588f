// Classes of one's own: names and drawings, kept in this browser's storage alone.

import { tile } from "./charts.js";

const MOST = 10;
const STORE = "funcnn-classes";

function stored() {
  try {
    const kept = JSON.parse(localStorage.getItem(STORE));
    return kept.every((one) => one.name && one.images.every((image) => image.length === 64)) ? kept : [];
  } catch {
    return []; // storage is turned off, is empty, or holds something else
  }
}

const element = (tag, properties, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};

export function ownClasses(list, newButton, status, { take }) {
  let classes = stored();
  const counted = (one) => `${one.images.length} drawing${one.images.length === 1 ? "" : "s"}`;

  function store() {
    try {
      localStorage.setItem(STORE, JSON.stringify(classes));
    } catch {
      // they last as long as the page
    }
  }

  // Draw the list anew; the button or field that had the focus gets it back.
  function show(focus) {
    store();
    list.replaceChildren(...classes.map(line));
    newButton.disabled = classes.length >= MOST;
    if (focus) (list.querySelector(focus) ?? newButton).focus();
  }

  function line(one, i) {
    const name = element("input", { value: one.name, maxLength: 40, autocomplete: "off", id: `class-${i}` });
    name.addEventListener("change", () => rename(i, name));
    const add = element("button", { type: "button", id: `add-${i}`, textContent: `Add the drawing to ${one.name}` });
    add.addEventListener("click", async () => {
      let image;
      try {
        image = await take();
      } catch (error) {
        status.textContent = `The drawing could not be added: ${error.message}.`;
        return;
      }
      if (image) one.images.push(image);
      status.textContent = image ? `${one.name} has ${counted(one)}.` : "Nothing is drawn: draw first, on the pad above.";
      show(`#add-${i}`);
    });
    const remove = element("button", { type: "button", textContent: `Delete ${one.name}` });
    remove.addEventListener("click", () => {
      classes = classes.filter((other) => other !== one);
      status.textContent = `${one.name} is deleted.`;
      show(`#class-${Math.max(i - 1, 0)}`);
    });
    const drawings = one.images.map((image, k) => {
      const canvas = element("canvas", { width: 8, height: 8 });
      tile(canvas, image);
      const button = element("button", { type: "button", title: "Delete this drawing" }, canvas);
      button.setAttribute("aria-label", `Delete drawing ${k + 1} of ${one.name}`);
      button.addEventListener("click", () => {
        one.images.splice(k, 1);
        status.textContent = `${one.name} has ${counted(one)}.`;
        show(`#add-${i}`);
      });
      return button;
    });
    return element(
      "li",
      {},
      element("label", {}, `Class ${i + 1}, ${counted(one)}`, name),
      element("div", { className: "buttons" }, add, remove),
      element("div", { className: "drawings" }, ...drawings),
    );
  }

  function rename(i, field) {
    const name = field.value.trim();
    const taken = classes.some((other, k) => k !== i && other.name === name);
    status.textContent = taken ? `There is a class ${name} already.` : name ? `Class ${i + 1} is ${name}.` : "A class needs a name.";
    if (name && !taken) classes[i].name = name;
    // The focus stays where the reader moved it; only the names change.
    field.value = classes[i].name;
    const item = list.children[i];
    item.querySelector(`#add-${i}`).textContent = `Add the drawing to ${classes[i].name}`;
    item.querySelector(".buttons button:last-child").textContent = `Delete ${classes[i].name}`;
    item.querySelectorAll(".drawings button").forEach((button, k) => {
      button.setAttribute("aria-label", `Delete drawing ${k + 1} of ${classes[i].name}`);
    });
    store();
  }

  newButton.addEventListener("click", () => {
    let number = classes.length + 1;
    while (classes.some((one) => one.name === `class ${number}`)) number += 1;
    classes.push({ name: `class ${number}`, images: [] });
    status.textContent = `There are ${classes.length} of at most ${MOST} classes.`;
    show(`#class-${classes.length - 1}`);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => show());
  // Another tab changed them: this one must not write its older ones over them.
  addEventListener("storage", ({ key }) => {
    if (key !== STORE) return;
    classes = stored();
    show();
  });
  show();
  return { classes: () => classes };
}
