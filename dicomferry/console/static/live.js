"use strict";
// Keeps the parts of a page that change up to date. Without it the page loads itself anew.

function watch(part) {
  if (part.dataset.live) {
    setTimeout(() => update(part), 1000 * Number(part.dataset.seconds));
  }
}

async function update(part) {
  // Whoever is about to follow a link, or has marked text, is not disturbed.
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
    if (!(error instanceof TypeError)) throw error; // the server cannot be reached at present
  }
  if (fresh === null) {
    watch(part);
    return;
  }
  part.replaceWith(fresh);
  if (fresh.classList.contains("operation") && !fresh.dataset.live) {
    location.reload(); // it has ended: its outcomes are there now
  }
  watch(fresh);
}

document.querySelectorAll("[data-live]").forEach(watch);
