// What stands on the page, but for the images.

import { first, letterKeys } from "./keys.js";

export const $ = (id) => document.getElementById(id);
export const percent = (share) => `${Math.round(100 * share)} %`;

export function write(id, text) {
  const element = $(id);
  if (element.textContent !== text) element.textContent = text;
}

export function drawHeader(view, inGrid) {
  const progress = `${view.done} of ${view.total}`;
  write("progress", view.total ? progress : "");
  const cycle = view.cycle ? `cycle ${view.cycle}` : "";
  write("cycle", view.question?.answer ? "answers again" : cycle);
  write("accuracy", accuracy(view) && `Accuracy ${accuracy(view)}`);
  $("bar").max = view.total || 1;
  $("bar").value = view.done;
  $("to-grid").hidden = view.phase !== "asking" || !view.confirmable;
  $("to-grid").setAttribute("aria-pressed", inGrid);
  document.title = `${view.phase === "asking" ? progress : waiting(view).title} · aljax`;
}

function accuracy(view) {
  if (view.accuracy === null) return "";
  const [low, high] = view.interval ?? [];
  return `${percent(view.accuracy)}${view.interval ? ` (${Math.round(100 * low)} to ${percent(high)})` : ""}`;
}

export function drawClasses({ classes }) {
  const names = JSON.stringify(classes);
  if ($("classes").dataset.names === names) return;
  $("classes").dataset.names = names;
  const letters = letterKeys(classes);
  const buttons = classes.map((name, place) => {
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
  const many = classes.length > 9;
  $("classes").classList.toggle("many", many);
  $("type").hidden = !many;
  write("letters", many ? "a, b, ... /" : "a, b, ...");
  write("letters-text", many ? "finds a class; Enter takes the first" : "the class whose first letter is underlined");
}

// Why the image is asked for, and the guess where it may be seen.
export function drawQuestion({ question, undo }, guesses) {
  const score = question.score ? `, score ${Number(question.score.toPrecision(3))}` : "";
  const why = question.reason === "random" ? "drawn at random" : `asked by ${question.reason}${score}`;
  write("why", question.answer ? `labeled ${question.answer}; the other answers say otherwise` : why);
  const hidden = question.judges && guesses;
  $("guessed").hidden = !question.guess && !hidden;
  if (question.guess) write("guessed", `The model's guess: ${question.guess}, ${percent(question.probability)}`);
  else if (hidden) write("guessed", "This image judges the model, so its guess stays hidden.");
  for (const button of $("classes").children) button.classList.toggle("guess", button.dataset.label === question.guess);
  $("undo").disabled = !undo.length;
}

export function waiting(view) {
  if (view.phase === "finished") return { title: "Finished", text: "Everything is saved. This page can be closed." };
  if (!view.total) return { title: "Getting ready", text: "The first images come in a moment, by themselves." };
  const text = "The answers are saved. The next images come by themselves; this page may stay open or be closed.";
  return { title: "The model is training", text };
}

export function drawWait(view) {
  const { title, text } = waiting(view);
  write("wait-title", title);
  write("wait-text", text);
  $("share").hidden = view.phase === "finished" || !view.total;
  if (view.share) $("share").value = view.share;
  else $("share").removeAttribute("value");
  const facts = { "images labeled": view.labeled || "", "accuracy on images drawn at random": accuracy(view) };
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

export function complain(line) {
  $("problem").hidden = !line;
  write("problem", line);
}

export function said([entry, ...more], view) {
  if (more.length) return `${more.length + 1} ${entry.answer === "undo" ? "answers taken back" : "guesses confirmed"}.`;
  if (entry.answer === "undo") return "The last answer is taken back.";
  const last = view.last?.file === entry.file ? view.last : {};
  const name = { skip: "skipped", unsure: "unsure" }[entry.answer] ?? entry.label;
  if (!last.guess) return `Saved: ${name}.`;
  const guess = last.guess === entry.label ? "The model's guess too" : `The model's guess was ${last.guess}`;
  return `Saved: ${name}. ${guess}, ${percent(last.probability)}.`;
}

