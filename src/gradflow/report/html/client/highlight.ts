/**
 * Script of the page: a weight or a gradient that is pointed at, tapped or tabbed to lights everything of its stage that
 * belongs to it, and its figures stand under the diagram. A tap or Enter holds it, Escape lets go.
 */
export const highlightScript = `
  // Highlighting ----------------------------------------------------------------------------------------------
  let pinned = null;
  const light = (picker) => {
    for (const node of all(".lit, .unlit")) node.classList.remove("lit", "unlit");
    if (picker === null) return;
    const scope = picker.closest("[data-scope]").dataset.scope;
    for (const node of all('[data-scope="' + scope + '"] [data-in]')) {
      node.classList.add(node.dataset.in.split(" ").includes(picker.dataset.pick) ? "lit" : "unlit");
    }
    for (const readout of all('[data-scope="' + scope + '"] .readout'))
      readout.replaceChildren(figuresOf(scope, picker.dataset.pick));
  };

  const figure = (value) => {
    if (value === null || value === undefined) return "n/m";
    const size = Math.abs(value);
    return minus(value === 0 ? "0" : size < 1e-3 ? value.toExponential(2) : size < 10 ? value.toFixed(3) : value.toPrecision(4));
  };
  // Norm of the piece that a weight sends to a map, and its mean cosine with the others there, at the shown step.
  const pieceOf = (stage, map, weight, step) => {
    const pieces = stage.measured.find((one) => one.featureMap === map);
    const at = pieces?.consumers.indexOf(weight) ?? -1;
    const sample = pieces?.samples.findLast((one) => one.step <= step);
    if (at < 0 || sample === undefined) return { norm: null, cosine: null };
    const others = sample.cosine[at].filter((value, i) => i !== at && value !== null);
    const cosine = others.length === 0 ? null : others.reduce((sum, value) => sum + value, 0) / others.length;
    return { norm: sample.norms[at], cosine };
  };
  const figuresOf = (scope, pick) => {
    const [variant, stageNumber] = scope.split(" ").map(Number);
    const stage = report.variants[variant].stages[stageNumber];
    const { weights, featureMaps } = stage.structure;
    const number = Number(pick.slice(1));
    const steps = stage.measured.flatMap(({ samples }) => samples.map((sample) => sample.step));
    const step = Math.min(shownStep(scope), Math.max(-1, ...steps));
    const when = step < 0 ? "" : " Measured at step " + steps.filter((one) => one <= step).reduce((a, b) => Math.max(a, b), 0) + ".";
    const row = (...cells) => make("tr", {}, ...cells);
    const cells = ({ norm, cosine }) => [norm, cosine].map((value) => make("td", { className: "n", textContent: figure(value) }));
    const head = (...titles) => make("thead", {}, row(...titles.map((text) => make("th", { scope: "col", textContent: text }))));
    if (pick[0] === "w") {
      const weight = weights[number];
      const rows = featureMaps.filter((map) => weight.sources.includes(map.symbol)).map((map) => {
        const others = weights.filter((one) => one !== weight && one.sources.includes(map.symbol));
        return row(
          make("th", { scope: "row" }, symbol(map.gradient)),
          make("td", { className: "n", textContent: map.channels }),
          make("td", {}, ...(others.length === 0 ? ["no other weight"] : listed(others.map((one) => symbol(one.symbol))))),
          ...cells(pieceOf(stage, map.symbol, weight.symbol, step)),
        );
      });
      const text = " (" + weight.modulePath + "): updated by " + rows.length + (rows.length === 1 ? " gradient." : " gradients.") + when;
      return make("table", {},
        make("caption", {}, symbol(weight.symbol), text),
        head("Gradient", "Channels", "Also updates", "Norm of its piece", "Mean cosine with the map's other pieces"),
        make("tbody", {}, ...rows));
    }
    const map = featureMaps[number];
    const rows = weights.filter((weight) => weight.sources.includes(map.symbol)).map((weight) => row(
      make("th", { scope: "row" }, symbol(weight.symbol)),
      make("td", { textContent: weight.modulePath }),
      ...cells(pieceOf(stage, map.symbol, weight.symbol, step)),
    ));
    const text = ", of " + map.channels + " channels, updates " + rows.length + (rows.length === 1 ? " weight." : " weights.") + when;
    return make("table", {},
      make("caption", {}, symbol(map.gradient), text),
      head("Weight", "Module", "Norm of its piece", "Mean cosine with the map's other pieces"),
      make("tbody", {}, ...rows));
  };

  const pin = (picker) => {
    pinned?.setAttribute("aria-pressed", "false");
    pinned = pinned === picker ? null : picker;
    pinned?.setAttribute("aria-pressed", "true");
    light(pinned);
  };
  const enlivenHighlight = (root) => {
    for (const readout of all(".readout", root)) {
      if (readout.firstChild !== null) continue;
      readout.append("The figures of the layer or feature map that you point at, tap or tab to stand here.");
    }
    for (const picker of all("[data-pick]", root)) {
      if (picker.hasAttribute("aria-pressed") || picker.querySelector("[data-pick]") !== null) continue;
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
      target.addEventListener("focus", () => pinned === null && target.matches(":focus-visible") && light(target));
      target.addEventListener("blur", () => pinned === null && light(null));
      target.addEventListener("click", () => pin(target));
      if (target !== picker) continue;
      target.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        pin(target);
      });
    }
  };
  document.addEventListener("keydown", (event) => event.key === "Escape" && pinned !== null && pin(pinned));
`;
