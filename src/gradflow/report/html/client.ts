/**
 * The page's own script, as text: vanilla JavaScript for the browser. The page is complete without it; it adds
 * sorting, highlighting, the slider over sampled steps, and downloads. It stands here as a string because its
 * hash is in the page's content security policy, so it has to be the same to the byte wherever it is made.
 */
export const clientScript = String.raw`"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (name, properties, ...children) => {
    const node = Object.assign(document.createElement(name), properties);
    node.append(...children);
    return node;
  };

  // Downloads -------------------------------------------------------------------------------------------------
  const save = (name, type, text) => {
    const url = URL.createObjectURL(new Blob([text], { type }));
    make("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  };
  const button = (text, label, action) => {
    const node = make("button", { type: "button", className: "tool", textContent: text, onclick: action });
    node.setAttribute("aria-label", label);
    return node;
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
    from.forEach((node, i) => {
      const style = getComputedStyle(node);
      const names = [...to[i].attributes].map((attribute) => attribute.name);
      for (const name of names) if (/^(class|tabindex|role|data-|aria-)/.test(name)) to[i].removeAttribute(name);
      if (node.closest("title")) return;
      for (const property of drawn) to[i].setAttribute(property, style.getPropertyValue(property));
    });
    document.documentElement.classList.remove("paper");
    const { width, height } = svg.viewBox.baseVal;
    copy.setAttribute("width", width);
    copy.setAttribute("height", height);
    return new XMLSerializer().serializeToString(copy);
  };

  for (const table of all("table[data-csv]")) {
    const name = table.dataset.csv + ".csv";
    const tool = button("CSV", "Download this table as CSV", () => save(name, "text/csv", toCsv(table)));
    table.caption.append(" ", tool);
  }
  for (const figure of all("figure[data-svg]")) {
    const svg = figure.querySelector("svg");
    const name = figure.dataset.svg + ".svg";
    const tool = button("SVG", "Download this figure as SVG", () => save(name, "image/svg+xml", toSvg(svg)));
    figure.querySelector("figcaption").append(" ", tool);
  }
  const json = document.getElementById("report").textContent;
  const report = JSON.parse(json);
  const jsonButton = button("Download all data (JSON)", "Download the whole report as JSON", () =>
    save("gradient-reuse.json", "application/json", JSON.stringify(report, null, 2)));
  document.querySelector("footer").append(" ", jsonButton);

  // Sorting ---------------------------------------------------------------------------------------------------
  for (const table of all("table[data-sortable]")) {
    const body = table.tBodies[0];
    const original = [...body.rows];
    [...table.tHead.rows[0].cells].forEach((header, column) => {
      const sorter = make("button", { type: "button", className: "sort" }, ...header.childNodes);
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

  // Highlighting: pick a weight or a gradient, everything of the same stage that belongs to it lights up -------
  let pinned = null;
  const light = (picker) => {
    for (const node of all(".lit, .unlit")) node.classList.remove("lit", "unlit");
    if (picker === null) return;
    const scope = picker.closest("[data-scope]").dataset.scope;
    for (const node of all('[data-scope="' + scope + '"] [data-in]')) {
      node.classList.add(node.dataset.in.split(" ").includes(picker.dataset.pick) ? "lit" : "unlit");
    }
  };
  const pin = (picker) => {
    pinned?.setAttribute("aria-pressed", "false");
    pinned = pinned === picker ? null : picker;
    pinned?.setAttribute("aria-pressed", "true");
    light(pinned);
  };
  for (const picker of all("[data-pick]")) {
    let target = picker;
    if (picker.tagName === "TH") {
      target = make("button", { type: "button", className: "pick" }, ...picker.childNodes);
      target.dataset.pick = picker.dataset.pick;
      picker.append(target);
    } else {
      target.setAttribute("tabindex", "0");
      target.setAttribute("role", "button");
    }
    target.setAttribute("aria-pressed", "false");
    target.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && pinned === null && light(target));
    target.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && pinned === null && light(null));
    target.addEventListener("click", () => pin(target));
    if (target === picker) {
      target.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        pin(target);
      });
    }
  }
  document.addEventListener("keydown", (event) => event.key === "Escape" && pinned !== null && pin(pinned));

  // Heat maps over sampled steps ------------------------------------------------------------------------------
  const heatClass = (value) => (value === null ? "qx" : "q" + Math.round((Math.min(1, Math.max(-1, value)) + 1) * 10));
  const heatText = (value) => {
    if (value === null) return "n/m";
    const text = value.toFixed(2).replace(/^(-?)0\./, "$1.");
    return text === "1.00" ? "1" : text === "-.00" ? ".00" : text.replace("-", "−");
  };
  const drawHeat = (svg, step) => {
    const [variant, stage, map] = svg.dataset.heat.split(" ").map(Number);
    const pieces = report.variants[variant].stages[stage].measured[map];
    // Networks may be sampled at different steps: show the latest sample up to the chosen one.
    const sample = pieces.samples.findLast((one) => one.step <= step);
    for (const cell of all(".cell", svg)) {
      const { row, column } = cell.dataset;
      const value = sample?.cosine[row]?.[column] ?? null;
      cell.setAttribute("class", "cell " + heatClass(value));
      if (value === null) cell.removeAttribute("data-value");
      else cell.dataset.value = value;
      const text = cell.querySelector("text");
      if (text !== null) text.textContent = heatText(value);
      const title = cell.querySelector("title");
      title.textContent = title.textContent.replace(/: .*$/, ": " + (value ?? "not measured"));
    }
  };
  for (const slider of all("input[data-steps]")) {
    const steps = slider.dataset.steps.split(" ").filter(Boolean).map(Number);
    if (steps.length < 2) continue;
    const label = slider.closest("label");
    const section = slider.closest("section");
    label.hidden = false;
    section.querySelector(".shown-step").hidden = true;
    slider.setAttribute("aria-valuetext", "step " + steps.at(-1));
    slider.addEventListener("input", () => {
      const step = steps[Number(slider.value)];
      label.querySelector("output").textContent = step;
      section.querySelector(".shown-step").textContent = "Shown: step " + step + ".";
      slider.setAttribute("aria-valuetext", "step " + step);
      for (const svg of all("svg[data-heat]", section)) drawHeat(svg, step);
    });
  }
})();
`;
