/**
 * Script of the page: the rows of tables with a row per step, made from the report when the table is unfolded. They are
 * most of the page's numbers, which so travel once.
 */
export const rowTableScript = String.raw`
  // Tables with a row per step ----------------------------------------------------------------------------------
  const fourDigits = (value) => {
    const size = Math.abs(value);
    return minus(value === 0 ? "0" : size < 1e-3 ? value.toExponential(3) : size < 1 ? value.toFixed(4) : value.toPrecision(4));
  };
  const threeDecimals = (value) => minus(value.toFixed(3).replace(/^-(0\.000)$/, "$1"));
  const percent = (value) => (100 * value).toFixed(2);
  const whole = (value) => value.toLocaleString("en-US");
  // The most specific gap that covers a path.
  const gapReason = (path) => {
    const covers = (gap) => path === gap || path.startsWith(gap + ".") || path.startsWith(gap + "[");
    const found = report.gaps.filter((gap) => covers(gap.path)).sort((a, b) => b.path.length - a.path.length);
    return "not measured: " + (found[0]?.reason ?? "no reason given");
  };
  const stepRow = (path, cells) => make("tr", {}, ...cells.map(([value, print, field]) => {
    const cell = make("td", { className: "n" });
    if (value === null || value === undefined) {
      cell.dataset.text = "";
      cell.append(make("abbr", { className: "gap", title: gapReason(path(field)), textContent: "n/m" }));
    } else {
      cell.dataset.value = value;
      cell.textContent = print(value);
    }
    return cell;
  }));
  const curveRows = ([variant, seed]) => {
    const one = report.variants[variant];
    const { curves } = seed === undefined ? one : one.seeds[seed];
    const base = "variants[" + variant + "]" + (seed === undefined ? "" : ".seeds[" + seed + "]") + ".curves.";
    return curves.step.map((step, i) => stepRow((field) => base + field + "[" + i + "]", [
      [step, whole, "step"],
      [curves.loss[i], fourDigits, "loss"],
      [curves.trainAccuracy[i], percent, "trainAccuracy"],
    ]));
  };
  const pieceRows = ([variant, stage, map]) => {
    const { consumers, samples } = report.variants[variant].stages[stage].measured[map];
    const pairs = consumers.flatMap((_, a) => consumers.slice(a + 1).map((__, offset) => [a, a + 1 + offset]));
    const hasCka = samples.some(({ weightCka }) => weightCka.some((row) => row.some((value) => value !== null)));
    const base = "variants[" + variant + "].stages[" + stage + "].measured[" + map + "].samples[";
    return samples.map((sample, i) => stepRow((field) => base + i + "]." + field, [
      [sample.step, whole, "step"],
      ...sample.norms.map((norm) => [norm, fourDigits, "norms"]),
      ...pairs.map(([a, b]) => [sample.cosine[a][b], threeDecimals, "cosine"]),
      ...(hasCka ? pairs.map(([a, b]) => [sample.weightCka[a][b], threeDecimals, "weightCka"]) : []),
      [sample.sharedEnergy, threeDecimals, "sharedEnergy"],
      [sample.firstDirectionShare, threeDecimals, "firstDirectionShare"],
      [sample.effectiveRank, threeDecimals, "effectiveRank"],
    ]));
  };
  const figureFields = ["cosine", "energyRatio", "firstDirectionShare", "rankShare", "weightCka", "norm", "sideCorrelation", "sideCka"];
  const figureRows = ([variant, stage, seed]) => {
    const one = report.variants[variant];
    const { samples } = (seed === undefined ? one : one.seeds[seed]).stages[stage];
    const base = "variants[" + variant + "]" + (seed === undefined ? "" : ".seeds[" + seed + "]") + ".stages[" + stage + "].samples[";
    return samples.map((sample, i) => stepRow((field) => base + i + "]." + field, [
      [sample.step, whole, "step"],
      ...figureFields.map((field) => [sample[field], fourDigits, field]),
    ]));
  };
  const rowMakers = { curves: curveRows, pieces: pieceRows, figures: figureRows };
  const enlivenRowTables = (root) => {
    for (const table of all("table[data-rows]", root)) {
      const [kind, ...address] = table.dataset.rows.split(" ");
      table.tBodies[0].replaceChildren(...rowMakers[kind](address.map(Number)));
    }
  };
`;
