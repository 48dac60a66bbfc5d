"use strict";
// Sorting by a column's heading. Without scripts the tables stand in the board's own order.
for (const table of document.querySelectorAll("table.board")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const up = now ? now !== "ascending" : head.dataset.first === "up";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = [...body.rows].map((row) => {
        const cell = row.cells[column];
        const text = cell.textContent;
        const number = cell.dataset.v === undefined ? null : Number(cell.dataset.v);
        // numeric columns have data-v wherever there is a value
        return { row, text, number, empty: head.classList.contains("num") ? number === null : text === "" };
      });
      rows.sort((a, b) => {
        // what has no value comes last, whichever way the column is sorted
        if (a.empty || b.empty) return a.empty - b.empty;
        const order = a.number !== null && b.number !== null
          ? a.number - b.number
          : a.text.localeCompare(b.text, "en", { numeric: true });
        return up ? order : -order;
      });
      body.append(...rows.map((entry) => entry.row));
    });
  });
}
