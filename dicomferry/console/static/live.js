"use strict";
// Updates the parts of a page that change. Without JavaScript the whole page reloads itself.

function watch(part) {
  if (part.dataset.live) {
    setTimeout(() => update(part), 1000 * Number(part.dataset.seconds));
  }
}

async function update(part) {
  // Do not replace a part with a focused link or selected text.
  const busy = part.contains(document.activeElement) || part.contains(getSelection().anchorNode);
  if (document.hidden || busy) {
    watch(part);
    return;
  }
  let fresh = null;
  try {
    const response = await fetch(part.dataset.live, { cache: "no-store" });
    if (response.ok) {
      const text = await response.text();
      fresh = new DOMParser().parseFromString(text, "text/html").querySelector("section");
    }
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // the server is unreachable
  }
  if (fresh === null) {
    watch(part);
    return;
  }
  part.replaceWith(fresh);
  if (fresh.classList.contains("operation") && !fresh.dataset.live) {
    location.reload(); // it has ended: show its outcomes
  }
  watch(fresh);
}

document.querySelectorAll("[data-live]").forEach(watch);
