// Talks to the server: the token goes along as a header, images come as blobs.

const KEY = "aljax.token";
const IMAGES_KEPT = 12;

const token = location.hash.slice(1) || sessionStorage.getItem(KEY) || "";
sessionStorage.setItem(KEY, token);
addEventListener("hashchange", () => location.reload());

export class Refused extends Error {
  constructor(status, line) {
    super(line);
    this.status = status;
  }
}

async function send(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { ...options.headers, Authorization: `Bearer ${token}` } });
  } catch {
    throw new Refused(0, "aljax does not answer. Start the same command again; every answer so far is saved.");
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  const line = response.status === 401 ? "This address is of another start: open the one that aljax printed." : said.error;
  throw new Refused(response.status, line ?? `refused (${response.status})`);
}

const query = (wish) => new URLSearchParams(Object.entries(wish).filter(([, value]) => value));

export async function look(wish) {
  return (await send(`/state?${query(wish)}`)).json();
}

export async function answer(entries, wish) {
  const body = JSON.stringify(entries);
  const options = { method: "POST", body, headers: { "Content-Type": "application/json" } };
  return (await send(`/answers?${query(wish)}`, options)).json();
}

// An image element, decoded; rejects with one line if it cannot be shown.
export async function image(file, tile = false) {
  const response = await send(`/image?${query({ file, tile: tile ? 1 : 0 })}`);
  const url = URL.createObjectURL(await response.blob());
  const element = new Image();
  element.alt = file;
  element.src = url;
  try {
    await element.decode();
  } catch {
    throw new Refused(410, `${file}: the browser cannot show it`);
  } finally {
    URL.revokeObjectURL(url); // the element keeps what it has decoded
  }
  return element;
}

const cache = new Map();

// The same, kept: those that come next are asked for in advance.
export function cached(file) {
  if (!cache.has(file)) {
    const loading = image(file);
    loading.catch(() => cache.delete(file)); // so that it is tried again
    cache.set(file, loading);
  }
  const found = cache.get(file);
  cache.delete(file);
  cache.set(file, found); // the most recent last
  for (const old of cache.keys()) {
    if (cache.size <= IMAGES_KEPT) break;
    cache.delete(old);
  }
  return found;
}
