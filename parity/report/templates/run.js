"use strict";
// The page is complete without this: here it learns to sort, to filter, and to open what a link leads to.
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const byId = (id) => document.getElementById(id);
  const list = byId("subjects");
  const subjects = all("details.subject");

  const keys = {
    worst: (s) => Number(s.dataset.rank),
    run: (s) => Number(s.dataset.number),
    model: (s) => s.dataset.model,
    backend: (s) => s.dataset.backend,
    difference: (s) => (s.dataset.difference === "" ? Infinity : -Number(s.dataset.difference)),
  };
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a === b ? 0 : a < b ? -1 : 1);

  function order() {
    const key = keys[byId("order").value];
    subjects.sort((a, b) => compare(key(a), key(b)) || a.dataset.number - b.dataset.number);
    list.append(...subjects);
  }

  const texts = new Map();
  function textOf(subject) {
    if (!texts.has(subject)) texts.set(subject, subject.textContent.toLowerCase());
    return texts.get(subject);
  }

  function filter() {
    const words = byId("find").value.toLowerCase().split(/\s+/).filter(Boolean);
    const verdicts = new Set(all('input[name="verdict"]:checked').map((box) => box.value));
    let shown = 0;
    for (const subject of subjects) {
      const found = words.every((word) => textOf(subject).includes(word));
      subject.hidden = !found || !verdicts.has(subject.dataset.verdict);
      shown += subject.hidden ? 0 : 1;
    }
    byId("shown").textContent = `${shown} of ${subjects.length} shown`;
  }

  function value(row, column, numeric) {
    const text = row.cells[column].textContent.trim();
    if (!numeric) return text;
    const number = parseFloat(text.replaceAll(",", ""));
    return Number.isNaN(number) ? Infinity : number;
  }

  function makeSortable(table) {
    const heads = all("thead th", table);
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        heads.forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
        const body = table.tBodies[0];
        const numeric = head.dataset.kind === "number";
        const rows = [...body.rows].map((row) => [value(row, column, numeric), row]);
        rows.sort((a, b) => sign * compare(a[0], b[0]));
        body.append(...rows.map((pair) => pair[1]));
      });
    });
  }

  function follow() {
    const target = location.hash.length > 1 && byId(decodeURIComponent(location.hash.slice(1)));
    const subject = target && target.closest("details.subject");
    if (!subject) return;
    subject.hidden = false;
    subject.open = true;
    subject.scrollIntoView();
    subject.querySelector("summary").focus({ preventScroll: true });
  }

  let opened = [];
  addEventListener("beforeprint", () => {
    opened = all("details.subject:not([open])");
    opened.forEach((details) => (details.open = true));
  });
  addEventListener("afterprint", () => opened.forEach((details) => (details.open = false)));

  if (subjects.length > 1) byId("tools").hidden = false;
  byId("find").addEventListener("input", filter);
  byId("order").addEventListener("change", order);
  all('input[name="verdict"]').forEach((box) => box.addEventListener("change", filter));
  byId("open").addEventListener("click", () => subjects.forEach((s) => (s.open = true)));
  byId("close").addEventListener("click", () => subjects.forEach((s) => (s.open = false)));
  all("table.sortable").forEach(makeSortable);
  addEventListener("hashchange", follow);
  filter();
  follow();
})();
