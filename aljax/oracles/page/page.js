// The page: shows what the server says, one image at a time, and sends what the person answers.

import * as grid from "./grid.js";
import { commandOf, isLetter, letterKeys, placeOf } from "./keys.js";
import { $, complain, drawClasses, drawHeader, drawQuestion, drawWait, said, waiting, write } from "./screen.js";
import { answer, cached, look } from "./server.js";

const POLL = 1000; // milliseconds

let view = null; // as the server last described it
let drawn = ""; // the same, as text
let shown = null; // {file, broken, since}: the image on the page, or why there is none
let ready = Promise.resolve(); // until the current image is on the page
let queue = Promise.resolve(); // answers leave one after the other, in the order of the keys
let drops = 0; // how often what waited in the queue was dropped
let inGrid = false;

const wish = () => ({ who: $("who").value.trim(), guess: $("guess").checked ? 1 : 0, grid: inGrid ? 1 : 0 });
const asking = () => view?.phase === "asking";

// ---- what is shown

function apply(next, own) {
  if (view && next.version < view.version) return; // an older response that came later
  const text = JSON.stringify(next);
  if (text === drawn) return;
  const moved = !own && asking() && next.phase === "asking" && view.cycle === next.cycle && view.done !== next.done;
  const phase = view?.phase;
  [view, drawn] = [next, text];
  if (inGrid && !view.confirmable) inGrid = false;
  draw();
  if (moved) write("message", "Answered on another page.");
  if (phase !== view.phase) write("announcement", asking() ? `${view.total - view.done} images to label.` : waiting(view).title);
}

function draw() {
  document.body.dataset.phase = view.phase;
  const many = inGrid && view.grid !== undefined; // it comes with the next response
  $("one").hidden = !asking() || many;
  $("many").hidden = !asking() || !many;
  $("wait").hidden = asking();
  drawHeader(view, inGrid);
  drawClasses(view);
  if (!asking()) {
    shown = null;
    drawWait(view);
  } else if (many) grid.draw(view.grid, view.classes);
  else {
    drawQuestion(view, $("guess").checked);
    if (shown?.file !== view.file) ready = show(view.file);
  }
}

async function show(file) {
  const late = setTimeout(() => $("stage").setAttribute("aria-busy", "true"), 150);
  let element = null;
  let problem = "";
  try {
    element = await cached(file);
  } catch (error) {
    problem = error.message;
    if (!error.status) return; // tried again when the server answers
  } finally {
    clearTimeout(late);
  }
  if (view.file !== file || !asking() || shown?.file === file) return;
  $("stage").removeAttribute("aria-busy");
  shown = { file, broken: problem, since: performance.now() };
  complain(problem && `${problem}. Press s to skip it.`);
  if (element) {
    element.id = "image";
    element.classList.toggle("small", Math.max(element.naturalWidth, element.naturalHeight) < 200);
    $("image").replaceWith(element);
  }
  $("image").hidden = !element;
  write("file", file);
  for (const next of [...view.next, ...view.undo.slice(-1)]) cached(next).catch(() => {}); // told when it is its turn
}

// ---- what is answered

function give(kind, label = "") {
  const before = drops;
  queue = queue.then(async () => {
    await ready;
    if (drops !== before) return;
    const entries = kind === "undo" ? undone() : answered(kind, label);
    if (entries.length) await post(entries);
  });
}

function answered(kind, label) {
  if (!asking() || !shown || shown.file !== view.file) return [];
  if (shown.broken && kind === "label") {
    complain(`${shown.broken}. Press s to skip it.`);
    return [];
  }
  const seconds = Math.min((performance.now() - shown.since) / 1000, 86400);
  return [{ file: shown.file, answer: kind, label, who: wish().who, seconds }];
}

function undone() {
  if (!view?.undo.length) write("message", "There is nothing to undo.");
  return (view?.undo ?? []).map((file) => ({ file, answer: "undo", who: wish().who, seconds: 0 }));
}

async function post(entries) {
  try {
    const next = await answer(entries, wish());
    complain("");
    if (entries.length > 1) inGrid = false; // what is left is asked one at a time
    apply(next, true);
    write("message", said(entries, view));
  } catch (error) {
    drops += 1;
    complain(error.message);
  }
}

// ---- keys and buttons

function press(event) {
  if (event.repeat || event.isComposing || event.ctrlKey || event.altKey || event.metaKey || !view) return;
  const field = event.target.matches?.("input:not([type=checkbox])") ? event.target : null;
  if (event.key === "Escape") return leave(field);
  const undoes = field?.id === "type" && !field.value && event.key === "Backspace";
  if ((field && !undoes) || !$("keys").checked) return;
  const place = placeOf(event);
  const letters = letterKeys(view.classes);
  const command = commandOf(event, letters);
  const name = view.classes[place - 1] ?? letters.get(event.key.toLowerCase());
  if (place === 0) toggleGrid(event);
  else if (command === "undo") act(event, () => give("undo"));
  else if (!asking()) return;
  else if (inGrid) grid.correct(event, view.classes[place - 1]);
  else if (command) act(event, () => give(command));
  else if (name) act(event, () => choose(name));
  else if ($("type").hidden) return;
  else if (event.key === "/") act(event, () => $("type").focus());
  else if (isLetter(event)) $("type").focus(); // where the letter goes, too
}

function act(event, what) {
  event.preventDefault();
  what();
}

function leave(field) {
  if (field) field.blur();
  else if (inGrid) toggleGrid();
  $("settings").open = false;
}

function choose(label) {
  const button = [...$("classes").children].find((one) => one.dataset.label === label);
  button?.animate?.([{ filter: "brightness(1.25)" }, { filter: "none" }], 250);
  give("label", label);
}

function toggleGrid(event) {
  if (!asking() || !(inGrid || view.confirmable)) return;
  event?.preventDefault();
  inGrid = !inGrid;
  if (!inGrid) draw();
  queue = queue.then(refresh).then(() => inGrid && grid.focus());
}

function narrow() {
  const text = $("type").value.trim().toLowerCase();
  const fits = (name) => name.toLowerCase().startsWith(text);
  const some = view.classes.some(fits);
  for (const one of $("classes").children) {
    const name = one.dataset.label;
    one.hidden = !(some ? fits(name) : name.toLowerCase().includes(text));
  }
}

document.addEventListener("keydown", press);
document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.label !== undefined) choose(button.dataset.label);
  else if (button?.dataset.answer) give(button.dataset.answer);
  else if (button?.id === "to-grid" || button?.id === "from-grid") toggleGrid();
  if (!event.target.closest("#settings")) $("settings").open = false;
});
$("type").addEventListener("input", narrow);
$("type").addEventListener("keydown", (event) => {
  const found = [...$("classes").children].find((one) => !one.hidden);
  if (event.key !== "Enter" || !$("type").value || !found) return;
  choose(found.dataset.label);
  $("type").value = "";
  $("type").blur();
  narrow();
});
$("grid").addEventListener("submit", (event) => {
  event.preventDefault();
  const entries = grid.confirmed().map((one) => ({ ...one, answer: "label", who: wish().who }));
  if (entries.length) queue = queue.then(() => post(entries));
});

for (const id of ["who", "guess", "keys"]) {
  const field = $(id);
  const [name, property] = [`aljax.${id}`, id === "who" ? "value" : "checked"];
  const stored = localStorage.getItem(name);
  if (stored !== null) field[property] = JSON.parse(stored);
  field.addEventListener("change", () => {
    localStorage.setItem(name, JSON.stringify(field[property]));
    refresh();
  });
}

let hiddenAt = 0;
document.addEventListener("visibilitychange", () => { // what nobody sees takes no time
  if (document.hidden) hiddenAt = performance.now();
  else if (shown && hiddenAt) shown.since += performance.now() - Math.max(hiddenAt, shown.since);
});

async function refresh() {
  try {
    const next = await look(wish());
    if ($("problem").dataset.lost) complain("");
    delete $("problem").dataset.lost;
    apply(next, false);
    if (asking() && !inGrid && shown?.file !== view.file) ready = show(view.file);
  } catch (error) {
    if (view?.phase === "finished") return;
    $("problem").dataset.lost = "1";
    complain(error.message);
  }
}

async function poll() {
  await refresh();
  setTimeout(poll, POLL);
}

poll();
