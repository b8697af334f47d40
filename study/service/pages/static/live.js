// Keeps a page up to date. The server sends fragments; focus, scroll and opened details stay as they are.
const page = document.querySelector("[data-live]");
const line = document.getElementById("connection");
const announcer = document.getElementById("announcer");
const PATIENCE_MS = 3000;
const AGAIN_MS = 5000;
const held = new Map();
let pressed = null; // under a pointer that is down: a click counts only if it is let go on the same element
let source;
let worry;

function say(state, words) {
  clearTimeout(worry);
  worry = undefined;
  if (line.dataset.state === state) return;
  line.dataset.state = state;
  line.textContent = words;
}

function mark(element) {
  if (element.id) return `#${CSS.escape(element.id)}`;
  if (element.tagName === "SUMMARY") return `#${CSS.escape(element.parentElement.id)} > summary`;
  for (const name of ["href", "aria-label"]) {
    const value = element.getAttribute(name);
    if (value) return `[${name}="${CSS.escape(value)}"]`;
  }
  return null;
}

function isInUse(place) {
  const selection = getSelection();
  const isSelected = selection && !selection.isCollapsed && place.contains(selection.anchorNode);
  return isSelected || place.contains(pressed); // somebody is about to copy it, or to click
}

function put({ name, digest, html }) {
  const place = document.querySelector(`[data-fragment="${name}"]`);
  if (!place || place.dataset.digest === digest) return;
  if (isInUse(place)) {
    held.set(name, { name, digest, html });
    return;
  }
  const focused = place.contains(document.activeElement) ? mark(document.activeElement) : null;
  const open = [...place.querySelectorAll("details[open]")].map((one) => one.id);
  const scrolled = [...place.querySelectorAll(".scroll, pre")].map((one) => [one.scrollLeft, one.scrollTop]);
  place.innerHTML = html;
  place.dataset.digest = digest;
  for (const details of place.querySelectorAll("details")) details.open = open.includes(details.id);
  place.querySelectorAll(".scroll, pre").forEach((one, number) => {
    if (scrolled[number]) [one.scrollLeft, one.scrollTop] = scrolled[number];
  });
  if (focused) place.querySelector(focused)?.focus({ preventScroll: true });
}

function connect() {
  source = new EventSource(page.dataset.live);
  source.addEventListener("open", () => say("live", "Live"));
  source.addEventListener("fragment", (event) => put(JSON.parse(event.data)));
  source.addEventListener("said", (event) => {
    const words = JSON.parse(event.data);
    if (announcer.textContent !== words) announcer.textContent = words;
  });
  source.addEventListener("gone", (event) => {
    source.close();
    say("gone", JSON.parse(event.data));
  });
  source.addEventListener("error", () => {
    worry ??= setTimeout(() => say("lost", "Connection lost, trying again"), PATIENCE_MS);
    if (source.readyState === EventSource.CLOSED && line.dataset.state !== "gone") setTimeout(connect, AGAIN_MS);
  });
}

function putHeld() {
  for (const [name, fragment] of held) {
    if (isInUse(document.querySelector(`[data-fragment="${name}"]`))) continue;
    held.delete(name);
    put(fragment);
  }
}

document.addEventListener("selectionchange", putHeld);
document.addEventListener("pointerdown", (event) => {
  pressed = event.target;
});
for (const name of ["pointerup", "pointercancel"]) {
  document.addEventListener(name, () =>
    setTimeout(() => {
      pressed = null; // once the click, which follows, is done with
      putHeld();
    }),
  );
}
document.addEventListener("visibilitychange", () => {
  if (line.dataset.state === "gone") return;
  source?.close(); // a page in the background asks for nothing
  if (!document.hidden) connect();
});
addEventListener("pagehide", () => source?.close());
addEventListener("pageshow", (event) => event.persisted && connect());
if (!document.hidden) connect();
