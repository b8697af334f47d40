"use strict";
// Sort a table by a column, and filter the list of trials. The page is complete without it.
for (const table of document.querySelectorAll("table.sortable")) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    const button = header.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const up = header.getAttribute("aria-sort") !== "ascending";
      const value = (row) => {
        const cell = row.cells[column];
        return (cell.dataset.sort ?? cell.textContent).trim().replace("\u2212", "-");
      };
      const compare = (one, other) => {
        const [a, b] = [value(one), value(other)];
        const [x, y] = [parseFloat(a), parseFloat(b)];
        if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1;
        const order = Number.isNaN(x) ? a.localeCompare(b) : x - y;
        return up ? order : -order;
      };
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", up ? "ascending" : "descending");
      const body = table.tBodies[0];
      table.classList.add("sorted");
      body.append(...[...body.rows].sort(compare));
    });
  });
}
for (const input of document.querySelectorAll("input[data-filter]")) {
  const rows = [...document.getElementById(input.dataset.filter).tBodies[0].rows];
  const output = input.closest("p").querySelector("output");
  input.addEventListener("input", () => {
    const terms = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !terms.every((term) => text.includes(term));
      shown += row.hidden ? 0 : 1;
    }
    output.textContent = terms.length ? `${shown} of ${rows.length}` : "";
  });
}
