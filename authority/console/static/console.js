"use strict";

/* Comfort only: every page works without this file. */

/* Times are written in UTC; the reader's own time is told beside them. */
for (const each of document.querySelectorAll("time[datetime]")) {
  const at = new Date(each.dateTime);
  if (!Number.isNaN(at.valueOf())) {
    each.title = at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" });
  }
}

/* A policy file is read here into the text that is sent: nothing but the form itself carries it. */
for (const place of document.querySelectorAll("[data-file-for]")) {
  const text = document.getElementById(place.dataset.fileFor);
  const label = document.createElement("label");
  const input = document.createElement("input");
  input.type = "file";
  input.id = place.dataset.fileFor + "-file";
  input.accept = ".toml,text/plain";
  label.htmlFor = input.id;
  label.textContent = place.dataset.label;
  input.addEventListener("change", async () => {
    if (input.files.length === 1) {
      text.value = await input.files[0].text();
      text.focus();
    }
  });
  place.append(label, " ", input);
}

/* A move of the score lights up in the drawing while its row is looked at, and the other way round. */
const moves = document.querySelectorAll("tr[data-move]");
const dots = new Map([...document.querySelectorAll("circle[data-move]")].map((dot) => [dot.dataset.move, dot]));
for (const row of moves) {
  const dot = dots.get(row.dataset.move);
  if (dot === undefined) {
    continue;
  }
  const light = (on) => {
    row.classList.toggle("lit", on);
    dot.classList.toggle("lit", on);
  };
  for (const part of [row, dot]) {
    part.addEventListener("pointerenter", () => light(true));
    part.addEventListener("pointerleave", () => light(false));
  }
}

/* Long work says so, to eyes and ears, and is asked for once. */
const working = document.createElement("p");
working.id = "working";
working.role = "status";
working.className = "unseen";
document.querySelector("main").append(working);
for (const form of document.querySelectorAll("form[method=post]")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent === "yes") {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "yes";
    form.setAttribute("aria-busy", "true");
    working.textContent = "Working …";
  });
}
addEventListener("pageshow", () => {
  working.textContent = "";
  for (const form of document.querySelectorAll("form[data-sent]")) {
    delete form.dataset.sent;
    form.removeAttribute("aria-busy");
  }
});
