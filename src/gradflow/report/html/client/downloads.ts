/** Script of the page: tables as CSV, figures as SVG, the whole report as JSON. */
export const downloadScript = String.raw`
  // Downloads -------------------------------------------------------------------------------------------------
  const save = (name, type, text) => {
    const url = URL.createObjectURL(new Blob([text], { type }));
    make("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  };
  const cellText = (cell) => {
    if (cell.dataset.value !== undefined) return cell.dataset.value;
    const text = cell.dataset.text ?? cell.textContent.trim().replace(/\s+/g, " ");
    // A spreadsheet would run a text that starts like a formula.
    return /^\s*[=+\-@]/.test(text) ? "'" + text : text;
  };
  const quoted = (text) => (/[",\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text);
  const toCsv = (table) =>
    [...table.rows].map((row) => [...row.cells].map((cell) => quoted(cellText(cell))).join(",")).join("\r\n") + "\r\n";

  const drawn = [
    "fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-opacity", "stroke-linecap", "opacity",
    "font-family", "font-size", "font-style", "font-weight", "text-anchor",
  ];
  const toSvg = (svg) => {
    // In the light palette whatever the screen shows: the file is meant for a paper.
    document.documentElement.classList.add("paper");
    const copy = svg.cloneNode(true);
    const [from, to] = [[svg, ...all("*", svg)], [copy, ...all("*", copy)]];
    const hidden = [];
    from.forEach((node, i) => {
      const style = getComputedStyle(node);
      if (style.display === "none") hidden.push(to[i]);
      const names = [...to[i].attributes].map((attribute) => attribute.name);
      for (const name of names) if (/^(class|tabindex|role|data-|aria-)/.test(name)) to[i].removeAttribute(name);
      if (node.closest("title")) return;
      for (const property of drawn) to[i].setAttribute(property, style.getPropertyValue(property));
    });
    for (const node of hidden) if (node.tagName !== "title") node.remove();
    document.documentElement.classList.remove("paper");
    const { width, height } = svg.viewBox.baseVal;
    copy.setAttribute("width", width);
    copy.setAttribute("height", height);
    return new XMLSerializer().serializeToString(copy);
  };

  const enlivenDownloads = (root) => {
    for (const table of all("table[data-csv]", root)) {
      if (table.caption.querySelector(".tool") !== null) continue;
      const name = table.dataset.csv + ".csv";
      const label = "Download this table as CSV: " + table.dataset.csv;
      table.caption.append(" ", button("CSV", label, () => save(name, "text/csv", toCsv(table))));
    }
    for (const figure of all("figure[data-svg]", root)) {
      const caption = figure.querySelector("figcaption");
      if (caption.querySelector(".tool") !== null) continue;
      const name = figure.dataset.svg + ".svg";
      const label = "Download this figure as SVG: " + figure.dataset.svg;
      const download = () => save(name, "image/svg+xml", toSvg(figure.querySelector("svg")));
      caption.append(" ", button("SVG", label, download));
    }
    const footer = document.querySelector("footer");
    if (footer.querySelector(".tool") === null)
      footer.append(" ", button("Download all data (JSON)", "Download all data (JSON): the whole report", () =>
        save("gradient-reuse.json", "application/json", JSON.stringify(report, null, 2))));
  };
`;
