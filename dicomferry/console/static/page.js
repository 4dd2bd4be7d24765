"use strict";
// Times of the reader's own zone, buttons that copy commands, and parts that change. A page works
// without all of it: times are in UTC, a click selects a command, and the page reloads itself.

const LOCAL = new Intl.DateTimeFormat("en-GB", {
  day: "numeric", month: "short", year: "numeric",
  hour: "2-digit", minute: "2-digit", timeZoneName: "short",
});

function improve(part) {
  for (const time of part.querySelectorAll("time[datetime]")) {
    time.textContent = LOCAL.format(new Date(time.dateTime)); // its title stays UTC
  }
  for (const command of part.querySelectorAll("code.command")) {
    command.after(copyButton(command));
  }
}

function copyButton(command) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.ariaLabel = "Copy the command " + command.textContent;
  button.addEventListener("click", async () => {
    getSelection().selectAllChildren(command);
    try {
      await navigator.clipboard.writeText(command.textContent);
    } catch {
      return; // no clipboard without TLS, or without permission: copy what is selected by hand
    }
    button.textContent = "Copied";
    button.ariaLabel = "Copied the command " + command.textContent;
  });
  return button;
}

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
  improve(fresh);
  if (fresh.classList.contains("operation") && !fresh.dataset.live) {
    location.reload(); // it has ended: show its outcomes
  }
  watch(fresh);
}

improve(document);
document.querySelectorAll("[data-live]").forEach(watch);
