// Checks a study file while it is typed: a moment after the last key, the server says its plan or what is wrong.
const form = document.querySelector("form[data-check]");
const text = document.getElementById("spec");
const claims = document.getElementById("claims");
const shown = document.getElementById("checked");
const PAUSE_MS = 450;
let timer;
let asking;

async function check() {
  asking?.abort();
  asking = new AbortController();
  shown.setAttribute("aria-busy", "true");
  try {
    const body = new URLSearchParams({ spec: text.value, claims: claims.value });
    const answer = await fetch(form.dataset.check, { method: "POST", body, signal: asking.signal });
    const html = await answer.text();
    if (answer.redirected || !answer.headers.get("content-type")?.startsWith("text/html")) throw new Error(answer.status);
    if (shown.innerHTML !== html) shown.innerHTML = html;
    text.setAttribute("aria-invalid", String(shown.querySelector(".wrong") !== null));
  } catch (error) {
    if (error.name === "AbortError") return;
    shown.textContent = "The service does not answer; the file is checked again when you type on.";
  }
  shown.removeAttribute("aria-busy");
}

for (const field of [text, claims]) {
  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(check, PAUSE_MS);
  });
}
document.getElementById("file").addEventListener("change", async (event) => {
  const [file] = event.target.files;
  if (!file) return;
  text.value = await file.text();
  check();
});
document.getElementById("from-file").hidden = false;
