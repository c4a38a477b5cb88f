/**
 * Script of the page: any measured curve of all networks in one chart by uPlot, to zoom into, smooth, and read values
 * from, by mouse, touch or keyboard. The charts that are printed stay as they are.
 */
export const explorerScript = `
  // Explorer --------------------------------------------------------------------------------------------------
  const dashes = [[], [7, 4], [2, 4], [10, 4, 2, 4], [14, 4], [5, 3, 2, 3, 2, 3], [1, 3], [3, 6]];
  const stageMeasures = [
    ["cosine", "cosine between pieces"],
    ["energyRatio", "shared energy over that of orthogonal pieces"],
    ["rankShare", "effective rank per piece"],
    ["weightCka", "CKA between weight gradients"],
    ["norm", "norm of all pieces"],
    ["sideCorrelation", "correlation between the sides"],
    ["sideCka", "CKA between the sides"],
  ];
  const measurable = () => {
    const runsOf = (variant) => variant.seeds ?? [variant];
    const curve = (name, values) => ({
      name,
      runs: (variant) => runsOf(variant).map(({ curves }) => ({ steps: curves.step, values: values(curves) })),
    });
    const stages = [...new Set(report.variants.flatMap((variant) => variant.stages.map(({ name }) => name)))];
    const sampled = stages.flatMap((stage) => stageMeasures.map(([field, title]) => ({
      name: stage + ": " + title,
      runs: (variant) => runsOf(variant).map(({ stages }) => {
        const samples = stages.find(({ name }) => name === stage)?.samples ?? [];
        return { steps: samples.map(({ step }) => step), values: samples.map((sample) => sample[field]) };
      }),
    })));
    const all = [
      curve("training loss", (curves) => curves.loss),
      curve("training accuracy", (curves) => curves.trainAccuracy),
      ...sampled,
    ];
    const isMeasured = ({ values }) => values.some((value) => value !== null);
    return all.filter(({ runs }) => report.variants.some((variant) => runs(variant).some(isMeasured)));
  };
  const movingMean = ({ steps, values }, window) => {
    const half = Math.floor(window / 2);
    if (half === 0) return { steps, values };
    const mean = (i) => {
      const near = values.slice(Math.max(0, i - half), i + half + 1).filter((value) => value !== null);
      return near.length === 0 ? null : near.reduce((sum, value) => sum + value, 0) / near.length;
    };
    return { steps, values: values.map((_, i) => mean(i)) };
  };
  // Rows as uPlot takes them: the steps, then mean, lowest and highest of every shown network.
  const curveTable = (measure, shown, window) => {
    const runs = shown.map((i) => measure.runs(report.variants[i]).map((run) => movingMean(run, window)));
    const steps = [...new Set(runs.flat().flatMap((run) => run.steps))].sort((a, b) => a - b);
    const place = new Map(steps.map((step, i) => [step, i]));
    const rows = runs.flatMap((list) => {
      const at = steps.map(() => []);
      for (const run of list)
        run.steps.forEach((step, i) => run.values[i] !== null && at[place.get(step)].push(run.values[i]));
      const of = (pick) => at.map((values) => (values.length === 0 ? null : pick(values)));
      return [
        of((values) => values.reduce((sum, value) => sum + value, 0) / values.length),
        of((values) => Math.min(...values)),
        of((values) => Math.max(...values)),
      ];
    });
    return [steps, ...rows];
  };
  let drawExplorer = () => {};
  const enlivenExplorer = (root) => {
    const section = root.querySelector("#explorer");
    if (section === null || typeof uPlot === "undefined") return;
    const measures = measurable();
    if (measures.length === 0) return;
    section.hidden = false;
    const box = section.querySelector(".explorer");
    const select = make("select", { onchange: () => drawExplorer() }, ...measures.map(({ name }, i) => make("option", { value: i, textContent: name })));
    const window = make("input", { type: "range", min: 0, max: 50, value: 0, oninput: () => drawExplorer() });
    const log = make("input", { type: "checkbox", onchange: () => drawExplorer() });
    const chart = make("div", { className: "explorer-chart", tabIndex: 0 });
    chart.setAttribute("role", "application");
    chart.setAttribute("aria-roledescription", "chart");
    const values = make("div", { className: "explorer-values" });
    values.tabIndex = 0;
    values.setAttribute("role", "group");
    values.setAttribute("aria-label", "Values at the step; scrolls");
    const spoken = make("p", { className: "spoken" });
    spoken.setAttribute("role", "status");
    let plot = null;
    box.replaceChildren(
      make("div", { className: "heat-controls" },
        make("label", { className: "slider" }, "Measure ", select),
        make("label", { className: "slider" }, "Moving mean ", window),
        make("label", { className: "slider" }, log, "logarithmic"),
        button("whole run", "Show the whole run again", () => drawExplorer())),
      chart, values, spoken);
    const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const read = (at) => {
      if (at === null || at === undefined || plot === null) return;
      const shown = plot.shown;
      const row = (...cells) => make("tr", {}, ...cells);
      const several = report.variants.some((variant) => (variant.seeds?.length ?? 1) > 1);
      const titles = several ? ["Network", "Mean", "Lowest seed", "Highest seed"] : ["Network", "Value"];
      values.replaceChildren(make("table", {},
        make("caption", { textContent: "At step " + plot.data[0][at] }),
        make("thead", {}, row(...titles.map((text, i) => make("th", { scope: "col", className: i > 0 ? "n" : "", textContent: text })))),
        make("tbody", {}, ...shown.map((v, k) => row(
          make("th", { scope: "row", className: "s" + (v % 8), textContent: report.variants[v].name }),
          ...(several ? [0, 1, 2] : [0]).map((part) => make("td", { className: "n", textContent: figure(plot.data[1 + 3 * k + part][at]) })))))));
    };
    drawExplorer = () => {
      const measure = measures[Number(select.value)];
      const shown = report.variants.map((_, i) => i).filter((i) => !hiddenVariants.has(i) &&
        measure.runs(report.variants[i]).some((run) => run.values.some((value) => value !== null)));
      const data = curveTable(measure, shown, Number(window.value));
      // A logarithm has no place for what is not positive.
      const drawn = log.checked ? data.map((row, i) => (i === 0 ? row : row.map((value) => (value > 0 ? value : null)))) : data;
      const few = data[0].length < 60;
      const axis = { stroke: style("--soft"), grid: { stroke: style("--grid"), width: 1 }, ticks: { stroke: style("--grid") } };
      plot?.plot.destroy();
      const made = new uPlot({
        width: chart.clientWidth || 600,
        height: 360,
        legend: { show: false },
        scales: { x: { time: false }, y: { distr: log.checked ? 3 : 1 } },
        axes: [{ ...axis, label: "training step" }, { ...axis, size: 64, label: measure.name }],
        series: [{}, ...shown.flatMap((v) => {
          const stroke = style("--s" + (v % 8));
          const line = { stroke, dash: dashes[v % 8], width: 2, spanGaps: true, points: { show: few } };
          const edge = { stroke: "transparent", width: 0, spanGaps: true, points: { show: false } };
          return [line, edge, edge];
        })],
        bands: shown.map((v, k) => ({ series: [3 + 3 * k, 2 + 3 * k], fill: style("--s" + (v % 8)) + (shown.length > 4 ? "10" : "22") })),
        hooks: { setCursor: [({ cursor }) => read(cursor.idx)] },
      }, drawn, chart);
      plot = { plot: made, data, shown, at: data[0].length - 1 };
      chart.setAttribute("aria-label", measure.name + " of " + shown.length + " networks over training. Left and right arrow keys read the values step by step; drag to zoom.");
      read(plot.at);
    };
    chart.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
      if (move === undefined || plot === null) return;
      event.preventDefault();
      plot.at = Math.min(plot.data[0].length - 1, Math.max(0, plot.at + move));
      plot.plot.setCursor({ left: plot.plot.valToPos(plot.data[0][plot.at], "x"), top: 10 });
      read(plot.at);
      spoken.textContent = "Step " + plot.data[0][plot.at] + ": " +
        plot.shown.map((v, k) => report.variants[v].name + " " + figure(plot.data[1 + 3 * k][plot.at])).join(", ");
    });
    new ResizeObserver(() => plot !== null && chart.clientWidth > 0 && plot.plot.width !== chart.clientWidth &&
      plot.plot.setSize({ width: chart.clientWidth, height: 360 })).observe(chart);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawExplorer());
    drawExplorer();
  };
`;
