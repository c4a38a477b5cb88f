/** Script of the page: which networks the charts show, where there are too many to tell apart at once. */
export const chartScript = `
  // Charts ----------------------------------------------------------------------------------------------------
  const hiddenVariants = new Set();
  const showVariants = (root = document) => {
    for (const node of all("[data-variant]", root))
      node.classList.toggle("off", hiddenVariants.has(Number(node.dataset.variant)));
    for (const box of all(".variant-keys input")) box.checked = !hiddenVariants.has(Number(box.value));
    if (root === document) drawExplorer();
  };
  const enlivenCharts = (root) => {
    for (const keys of all(".variant-keys", root)) {
      if (keys.firstChild !== null) continue;
      const choose = (names) => () => {
        hiddenVariants.clear();
        report.variants.forEach((variant, i) => !names(variant, i) && hiddenVariants.add(i));
        showVariants();
      };
      const boxes = report.variants.map(({ name }, i) => {
        const box = make("input", { type: "checkbox", value: i, checked: !hiddenVariants.has(i) });
        box.onchange = () => {
          if (box.checked) hiddenVariants.delete(i);
          else hiddenVariants.add(i);
          showVariants();
        };
        return make("label", { className: "s" + (i % 8) }, box, " " + name);
      });
      keys.append(make("fieldset", {},
        make("legend", { textContent: "Networks in the charts" }),
        ...boxes,
        button("all", "all: show all networks in the charts", choose(() => true)),
        button("baseline only", "baseline only: hide the other networks in the charts", choose((_, i) => i === 0))));
    }
    showVariants(root);
  };
`;
