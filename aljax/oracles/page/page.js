// The page: shows what the server says, one image at a time, and sends what the person answers.

import * as grid from "./grid.js";
import { answer, cached, look } from "./server.js";

const POLL = 1000; // milliseconds
const RESERVED = "suz"; // letters that do not stand for a class
const $ = (id) => document.getElementById(id);

let view = null; // as the server last described it
let drawn = ""; // the same, as text
let shown = null; // {file, broken, since}: the image on the page, or why there is none
let ready = Promise.resolve(); // until the current image is on the page
let queue = Promise.resolve(); // answers leave one after the other, in the order of the keys
let drops = 0; // how often what waited in the queue was dropped
let inGrid = false;

const wish = () => ({ who: $("who").value.trim(), guess: $("guess").checked ? 1 : 0, grid: inGrid ? 1 : 0 });
const percent = (share) => `${Math.round(100 * share)} %`;
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
  if (phase !== view.phase) write("announcement", asking() ? `${view.total - view.done} images to label.` : waiting().title);
}

function write(id, text) {
  const element = $(id);
  if (element.textContent !== text) element.textContent = text;
}

function draw() {
  document.body.dataset.phase = view.phase;
  const many = inGrid && view.grid !== undefined; // it comes with the next response
  $("one").hidden = !asking() || many;
  $("many").hidden = !asking() || !many;
  $("wait").hidden = asking();
  drawHeader();
  drawClasses();
  if (!asking()) drawWait();
  else if (many) grid.draw(view.grid, view.classes);
  else drawQuestion();
}

function drawHeader() {
  const progress = `${view.done} of ${view.total}`;
  write("progress", view.total ? progress : "");
  write("cycle", view.cycle ? `cycle ${view.cycle}` : "");
  write("accuracy", accuracy() && `Accuracy ${accuracy()}`);
  $("bar").max = view.total || 1;
  $("bar").value = view.done;
  $("to-grid").hidden = !asking() || !view.confirmable;
  $("to-grid").setAttribute("aria-pressed", inGrid);
  document.title = `${asking() ? progress : waiting().title} · aljax`;
}

function accuracy() {
  if (view.accuracy === null) return "";
  const [low, high] = view.interval ?? [];
  return `${percent(view.accuracy)}${view.interval ? ` (${Math.round(100 * low)} to ${percent(high)})` : ""}`;
}

function drawClasses() {
  const names = JSON.stringify(view.classes);
  if ($("classes").dataset.names === names) return;
  $("classes").dataset.names = names;
  const letters = letterKeys();
  const buttons = view.classes.map((name, place) => {
    const button = document.createElement("button");
    button.dataset.label = name;
    const text = document.createElement("span");
    if (letters.get(first(name)) === name) {
      const letter = document.createElement("u");
      letter.textContent = [...name][0];
      text.append(letter, [...name].slice(1).join(""));
    } else text.textContent = name;
    const key = document.createElement("kbd");
    key.textContent = place < 9 ? place + 1 : "";
    button.append(key, text);
    return button;
  });
  $("classes").replaceChildren(...buttons);
  const many = view.classes.length > 9;
  $("classes").classList.toggle("many", many);
  $("type").hidden = !many;
  write("letters", many ? "a, b, ... /" : "a, b, ...");
  write("letters-text", many ? "finds a class; Enter takes the first" : "the class whose first letter is underlined");
}

function drawQuestion() {
  const { question } = view;
  const score = question.score ? `, score ${Number(question.score.toPrecision(3))}` : "";
  write("why", question.reason === "random" ? "drawn at random" : `asked by ${question.reason}${score}`);
  const hidden = question.judges && $("guess").checked;
  $("guessed").hidden = !question.guess && !hidden;
  if (question.guess) write("guessed", `The model's guess: ${question.guess}, ${percent(question.probability)}`);
  else if (hidden) write("guessed", "This image judges the model, so its guess stays hidden.");
  for (const button of $("classes").children) button.classList.toggle("guess", button.dataset.label === question.guess);
  $("undo").disabled = !view.undo.length;
  if (shown?.file !== view.file) ready = show(view.file);
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
  if (view.file !== file || !asking()) return;
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

function waiting() {
  if (view.phase === "finished") return { title: "Finished", text: "Everything is saved. This page can be closed." };
  if (!view.total) return { title: "Getting ready", text: "The first images come in a moment, by themselves." };
  const text = "The answers are saved. The next images come by themselves; this page may stay open or be closed.";
  return { title: "The model is training", text };
}

function drawWait() {
  shown = null;
  const { title, text } = waiting();
  write("wait-title", title);
  write("wait-text", text);
  $("share").hidden = view.phase === "finished" || !view.total;
  if (view.share) $("share").value = view.share;
  else $("share").removeAttribute("value");
  const facts = { "images labeled": view.labeled || "", "accuracy on images drawn at random": accuracy() };
  const pairs = Object.entries(facts).filter(([, value]) => value);
  $("facts").replaceChildren(
    ...pairs.map(([name, value]) => {
      const pair = document.createElement("div");
      pair.append(Object.assign(document.createElement("dd"), { textContent: value }));
      pair.append(Object.assign(document.createElement("dt"), { textContent: name }));
      return pair;
    }),
  );
  $("wait-undo").hidden = !view.undo.length || view.phase === "finished";
}

function complain(line) {
  $("problem").hidden = !line;
  write("problem", line);
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
    write("message", said(entries));
  } catch (error) {
    drops += 1;
    complain(error.message);
  }
}

function said([entry, ...more]) {
  if (more.length) return `${more.length + 1} ${entry.answer === "undo" ? "answers taken back" : "guesses confirmed"}.`;
  if (entry.answer === "undo") return "The last answer is taken back.";
  const last = view.last?.file === entry.file ? view.last : {};
  const name = { skip: "skipped", unsure: "unsure" }[entry.answer] ?? entry.label;
  if (!last.guess) return `Saved: ${name}.`;
  const guess = last.guess === entry.label ? "The model's guess too" : `The model's guess was ${last.guess}`;
  return `Saved: ${name}. ${guess}, ${percent(last.probability)}.`;
}

// ---- keys and buttons

const first = (name) => ([...name][0] ?? "").toLowerCase();

function letterKeys() {
  const letters = new Map(); // of few classes, those that begin with a letter of their own
  if (view.classes.length > 9) return letters;
  for (const name of view.classes) letters.set(first(name), letters.has(first(name)) ? null : name);
  for (const letter of RESERVED) letters.delete(letter);
  return letters;
}

function press(event) {
  if (event.repeat || event.isComposing || event.ctrlKey || event.altKey || event.metaKey || !view) return;
  const field = event.target.matches?.("input:not([type=checkbox])");
  if (event.key === "Escape") return leave(field ? event.target : null);
  if (field && !(event.target.id === "type" && event.key === "Backspace" && !event.target.value)) return;
  if (!$("keys").checked || (event.key === "/" && !asking())) return;
  const place = /^[0-9]$/.test(event.key) ? event.key : !event.shiftKey && /^(?:Digit|Numpad)([0-9])$/.exec(event.code)?.[1];
  const letter = /^[a-z]$/i.test(event.key) ? event.key.toLowerCase() : event.key;
  const known = /^Key([SUZ])$/.exec(event.code)?.[1].toLowerCase(); // on keyboards without Latin letters
  const command = RESERVED.includes(letter) ? letter : event.key.charCodeAt(0) > 127 && !letterKeys().get(letter.toLowerCase()) ? known : null;
  if (place === "0") return toggleGrid(event);
  if (command === "z" || event.key === "Backspace") return act(event, () => give("undo"));
  if (!asking()) return;
  if (inGrid) return place && grid.correct(event, view.classes[place - 1]);
  if (place && view.classes[place - 1] !== undefined) return act(event, () => choose(view.classes[place - 1]));
  if (command) return act(event, () => give(command === "s" ? "skip" : "unsure"));
  const name = letterKeys().get(letter.toLowerCase());
  if (name) return act(event, () => choose(name));
  if (!$("type").hidden && event.key === "/") return act(event, () => $("type").focus());
  if (!$("type").hidden && /^\p{L}$/u.test(event.key)) $("type").focus(); // where the letter goes, too
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
