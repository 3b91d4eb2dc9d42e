// What keys mean. Those of a class are the digit of its place and, of few classes, a letter of its own.

const COMMANDS = { s: "skip", u: "unsure", z: "undo" };

export const first = (name) => ([...name][0] ?? "").toLowerCase();

// Classes by the letter that none but they begin with.
export function letterKeys(classes) {
  const letters = new Map();
  if (classes.length > 9) return letters;
  for (const name of classes) letters.set(first(name), letters.has(first(name)) ? null : name);
  for (const letter of Object.keys(COMMANDS)) letters.delete(letter);
  return letters;
}

// The digit of a key; on French keyboards, too, that of the place where others have it.
export function placeOf(event) {
  if (/^[0-9]$/.test(event.key)) return Number(event.key);
  const found = event.shiftKey ? null : /^Digit([0-9])$/.exec(event.code);
  return found ? Number(found[1]) : null;
}

// Skip, unsure or undo; on keyboards without Latin letters by the place of the key.
export function commandOf(event, letters) {
  if (event.key === "Backspace") return "undo";
  if (/^[a-z]$/i.test(event.key)) return COMMANDS[event.key.toLowerCase()] ?? null;
  if (!isLetter(event) || letters.get(event.key.toLowerCase())) return null;
  return COMMANDS[/^Key([A-Z])$/.exec(event.code)?.[1].toLowerCase()] ?? null;
}

export const isLetter = (event) => /^\p{L}$/u.test(event.key);
