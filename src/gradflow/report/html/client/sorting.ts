/** Script of the page: tables sorted by any column, up, down, and back as they were. */
export const sortingScript = `
  // Sorting ---------------------------------------------------------------------------------------------------
  const enlivenSorting = (root) => {
    for (const table of all("table[data-sortable]", root)) {
      const body = table.tBodies[0];
      const original = [...body.rows];
      [...table.tHead.rows[0].cells].forEach((header, column) => {
        if (header.querySelector(".sort") !== null) return;
        const link = header.querySelector("a");
        // A link may not stand in a button: the button then comes behind it.
        const sorter = link === null
          ? make("button", { type: "button", className: "sort" }, ...header.childNodes)
          : make("button", { type: "button", className: "sort" });
        if (link !== null) sorter.setAttribute("aria-label", "Sort by " + header.textContent.trim());
        header.append(sorter);
        sorter.onclick = () => {
          const order = { none: "ascending", ascending: "descending", descending: "none" }[header.ariaSort ?? "none"];
          for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
          if (order !== "none") header.setAttribute("aria-sort", order);
          const sign = order === "descending" ? -1 : 1;
          const compare = (a, b) => {
            const [x, y] = [a.cells[column], b.cells[column]].map((cell) => cell.dataset.value);
            if (x !== undefined && y !== undefined) return sign * (Number(x) - Number(y));
            if (x !== undefined || y !== undefined) return x === undefined ? 1 : -1;
            return sign * a.cells[column].textContent.localeCompare(b.cells[column].textContent);
          };
          body.append(...(order === "none" ? original : [...original].sort(compare)));
        };
      });
    }
  };
`;
