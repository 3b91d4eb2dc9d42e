// The grid: the batch's guesses, by class, to be confirmed at once.

import { image } from "./server.js";

const form = document.getElementById("grid");
const button = document.getElementById("confirm");
let since = 0; // when this grid came, in milliseconds

const boxes = () => [...form.querySelectorAll("input")];

// Draws tiles of questions that have a guess; what is already there stays as it was marked.
export function draw(questions, classes) {
  const before = new Map(boxes().map((box) => [box.dataset.file, box.closest("label")]));
  const files = questions.map((one) => one.file);
  if (files.length === before.size && files.every((file) => before.has(file))) return;
  since = performance.now();
  const groups = classes.map((name) => {
    const mine = questions.filter((one) => one.guess === name).sort((a, b) => b.probability - a.probability);
    return mine.length ? group(name, mine.map((one) => before.get(one.file) ?? tile(one))) : null;
  });
  const focused = document.activeElement; // which loses it when it moves
  form.replaceChildren(...groups.filter(Boolean));
  if (form.contains(focused)) focused.focus();
  else if (before.has(focused?.dataset?.file)) focus();
  count();
}

function group(name, tiles) {
  const set = document.createElement("fieldset");
  const legend = document.createElement("legend");
  legend.textContent = name;
  const number = document.createElement("span");
  number.textContent = ` ${tiles.length}`;
  legend.append(number);
  const rows = document.createElement("div");
  rows.className = "tiles";
  rows.append(...tiles);
  set.append(legend, rows);
  return set;
}

function tile({ file, guess, probability }) {
  const label = document.createElement("label");
  label.className = "tile";
  const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: true });
  Object.assign(box.dataset, { file, guess, label: guess });
  const frame = document.createElement("span");
  frame.className = "frame";
  frame.title = file;
  const text = document.createElement("span");
  text.className = "text";
  text.textContent = `${guess} ${Math.round(100 * probability)} %`;
  label.append(box, frame, text);
  seen.observe(label);
  return label;
}

// Images are asked for when their tiles come into view.
const seen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) if (isIntersecting) load(target);
}, { rootMargin: "200px" });

async function load(label) {
  seen.unobserve(label);
  const box = label.querySelector("input");
  const frame = label.querySelector(".frame");
  try {
    frame.replaceChildren(await image(box.dataset.file, true));
  } catch (error) {
    frame.textContent = error.message;
    Object.assign(box, { checked: false, disabled: true });
    count();
  }
}

function count() {
  const [marked, all] = [boxes().filter((box) => box.checked).length, boxes().length];
  button.textContent = `Confirm ${marked} of ${all}`;
  button.disabled = !marked;
}

// Gives the tile in focus another class.
export function correct(event, name) {
  const box = document.activeElement;
  if (!box?.dataset?.guess || name === undefined) return;
  event.preventDefault();
  box.checked = true;
  box.dataset.label = name;
  const label = box.closest("label");
  label.classList.toggle("corrected", name !== box.dataset.guess);
  label.querySelector(".text").textContent = name === box.dataset.guess ? name : `${name}, not ${box.dataset.guess}`;
  count();
}

// Returns what is marked, as answers; the seconds are shared out evenly.
export function confirmed() {
  const marked = boxes().filter((box) => box.checked);
  const seconds = Math.min((performance.now() - since) / 1000 / (marked.length || 1), 86400);
  return marked.map((box) => ({ file: box.dataset.file, label: box.dataset.label, seconds }));
}

export function focus() {
  boxes()[0]?.focus();
}

form.addEventListener("change", count);
form.addEventListener("keydown", (event) => {
  const all = boxes();
  const place = all.indexOf(event.target);
  if (place < 0) return;
  if (event.key === "Enter") {
    event.preventDefault();
    form.requestSubmit();
  }
  const row = (box) => Math.round(box.closest("label").getBoundingClientRect().top);
  const column = (box) => box.closest("label").getBoundingClientRect().left;
  const nearest = (rows) => rows.length && rows.reduce((a, b) => Math.abs(column(b) - column(all[place])) < Math.abs(column(a) - column(all[place])) ? b : a);
  const below = all.slice(place).filter((box) => row(box) > row(all[place]));
  const above = all.slice(0, place).filter((box) => row(box) < row(all[place]));
  const target = {
    ArrowRight: all[place + 1],
    ArrowLeft: all[place - 1],
    ArrowDown: nearest(below.filter((box) => row(box) === row(below[0]))),
    ArrowUp: nearest(above.filter((box) => row(box) === row(above.at(-1)))),
  }[event.key];
  if (!target) return;
  event.preventDefault();
  target.focus();
});
