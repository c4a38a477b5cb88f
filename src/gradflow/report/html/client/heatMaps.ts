/** Script of the page: heat maps over the sampled steps, of either matrix, with the value under the pointer. */
export const heatMapScript = String.raw`
  // Heat maps -------------------------------------------------------------------------------------------------
  const heatClass = (value) => (value === null ? "qx" : "q" + Math.round((Math.min(1, Math.max(-1, value)) + 1) * 10));
  const heatText = (value) => {
    if (value === null) return "n/m";
    const text = value.toFixed(2).replace(/^(-?)0\./, "$1.");
    return text === "1.00" ? "1" : text === "-.00" ? ".00" : text.replace("-", "−");
  };
  const piecesOf = (svg) => {
    const [variant, stage, map] = svg.dataset.heat.split(" ").map(Number);
    return report.variants[variant].stages[stage].measured[map];
  };
  // Networks may be sampled at different steps: show the latest sample up to the chosen one.
  const heatValue = (svg, cell) => {
    const pieces = piecesOf(svg);
    const { step, matrix } = shownHeat(svg.closest(".heat-group"));
    const n = pieces.consumers.length;
    const [row, column] = [Math.floor(cell / n), cell % n];
    const sample = pieces.samples.findLast((one) => one.step <= step);
    return { row: pieces.consumers[row], column: pieces.consumers[column], value: sample?.[matrix][row]?.[column] ?? null };
  };
  const drawHeat = (svg) => {
    all(".cell", svg).forEach((cell, i) => {
      const { value } = heatValue(svg, i);
      cell.setAttribute("class", "cell " + heatClass(value));
      const text = cell.querySelector("text");
      if (text !== null) text.textContent = heatText(value);
    });
  };
  const shownHeat = (group) => {
    const slider = group.querySelector("input[data-steps]");
    const steps = slider.dataset.steps.split(" ").filter(Boolean).map(Number);
    return { step: steps[Number(slider.value)] ?? -1, matrix: group.querySelector("select[data-matrix]")?.value ?? "cosine" };
  };
  // The step at which a stage's heat maps are shown; the last one where it has none.
  const shownStep = (scope) => {
    const group = document.querySelector('svg[data-heat^="' + scope + ' "]')?.closest(".heat-group");
    return group ? shownHeat(group).step : Number.MAX_SAFE_INTEGER;
  };
  const svgNode = (within, name, attributes) => {
    const node = document.createElementNS(within.namespaceURI, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };
  const makeCells = (root) => {
    for (const group of all("g[data-cells]", root)) {
      const [n, size, left, top] = group.dataset.cells.split(" ").map(Number);
      delete group.dataset.cells;
      for (let i = 0; i < n * n; i++) {
        const cell = svgNode(group, "g", { class: "cell" });
        cell.append(svgNode(group, "rect", { x: left + (i % n) * size, y: top + Math.floor(i / n) * size, width: size, height: size }));
        group.append(cell);
      }
      drawHeat(group.closest("svg"));
    }
  };
  const enlivenHeatMaps = (root) => {
    makeCells(root);
    for (const group of all(".heat-group", root)) {
      const slider = group.querySelector("input[data-steps]");
      const redraw = () => {
        const { step } = shownHeat(group);
        slider.closest("label").querySelector("output").textContent = step;
        group.querySelector(".shown-step").textContent = "Shown: step " + step + ".";
        slider.setAttribute("aria-valuetext", "step " + step);
        for (const svg of all("svg[data-heat]", group)) drawHeat(svg);
      };
      if (Number(slider.max) > 0) {
        slider.closest("label").hidden = false;
        group.querySelector(".shown-step").hidden = true;
        slider.setAttribute("aria-valuetext", "step " + shownHeat(group).step);
        slider.addEventListener("input", redraw);
      }
      const select = group.querySelector("select[data-matrix]");
      if (select !== null) {
        select.closest("label").hidden = false;
        select.addEventListener("change", redraw);
      }
      for (const svg of all("svg[data-heat]", group)) {
        const caption = svg.closest("figure").querySelector("figcaption");
        const shown = make("span", { className: "heat-value" });
        caption.append(shown);
        const cells = all(".cell", svg);
        let pointed = -1;
        const tell = () => {
          if (pointed < 0) return shown.replaceChildren();
          const { row, column, value } = heatValue(svg, pointed);
          shown.replaceChildren(" ", symbol(row), ", ", symbol(column), ": " + (value === null ? "n/m" : minus(value.toFixed(4))));
        };
        svg.addEventListener("pointermove", (event) => {
          pointed = cells.indexOf(event.target.closest(".cell"));
          tell();
        });
        svg.addEventListener("pointerleave", () => {
          pointed = -1;
          tell();
        });
        group.addEventListener("input", tell);
      }
    }
  };
`;
