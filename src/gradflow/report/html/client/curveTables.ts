/** Script of the page: the table of every recorded training step, made from the report when it is unfolded. */
export const curveTableScript = `
  // Curve tables ----------------------------------------------------------------------------------------------
  const fourDigits = (value) => {
    const size = Math.abs(value);
    return minus(value === 0 ? "0" : size < 1e-3 ? value.toExponential(3) : size < 1 ? value.toFixed(4) : value.toPrecision(4));
  };
  const numberCell = (value, text, why) => {
    const cell = make("td", { className: "n" });
    if (value === null) {
      cell.dataset.text = "";
      cell.append(make("abbr", { className: "gap", title: why, textContent: "n/m" }));
    } else {
      cell.dataset.value = value;
      cell.textContent = text;
    }
    return cell;
  };
  const enlivenCurveTables = (root) => {
    for (const table of all("table[data-curves]", root)) {
      const [variant, seed] = table.dataset.curves.split(" ").map(Number);
      const { curves } = seed === undefined ? report.variants[variant] : report.variants[variant].seeds[seed];
      const why = table.dataset.gap;
      const rows = curves.step.map((step, i) => {
        const [loss, accuracy] = [curves.loss[i], curves.trainAccuracy[i]];
        return make("tr", {},
          numberCell(step, step.toLocaleString("en-US"), why),
          numberCell(loss, loss === null ? "" : fourDigits(loss), why),
          numberCell(accuracy, accuracy === null ? "" : (100 * accuracy).toFixed(2), why));
      });
      table.tBodies[0].replaceChildren(...rows);
    }
  };
`;
