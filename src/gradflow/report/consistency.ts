/**
 * What the shape of the JSON cannot say: that lengths agree, that every symbol is declared, and that a figure
 * given twice is the same both times. A report that contradicts itself is refused before it is drawn.
 */

import type { GradientReuseReport, ReportMeasuredPieces, ReportStage, ReportVariant } from "./schema.ts";

/** One contradiction: where it is in the report and what clashes. */
export interface Inconsistency {
  readonly path: (string | number)[];
  readonly message: string;
}

type Path = (string | number)[];

/** All contradictions of a report whose shape is already right; empty when there is none. */
export function inconsistencies(report: GradientReuseReport): Inconsistency[] {
  const names = report.variants.map((variant) => variant.name);
  return [
    ...repeated(names, ["variants"], "variant name"),
    ...report.variants.flatMap((variant, index) => variantIssues(variant, ["variants", index])),
    ...report.variants.flatMap((variant, index) => seedIssues(variant, report, ["variants", index])),
    ...report.comparison.flatMap((row, index) => [
      ...sameLength(row.values, names.length, ["comparison", index, "values"], "one value per variant"),
      ...(row.intervals === undefined
        ? []
        : sameLength(
            row.intervals,
            names.length,
            ["comparison", index, "intervals"],
            "one interval per variant",
          )),
    ]),
  ];
}

/** Every seed is there once, and a counterfactual's original is one of the variants. */
function seedIssues(
  { seeds, counterfactual }: ReportVariant,
  report: GradientReuseReport,
  path: Path,
): Inconsistency[] {
  const listed = report.meta.seeds ?? [report.meta.seed];
  const issues: Inconsistency[] = [];
  const given = seeds?.map(({ seed }) => seed);
  if (given && given.join() !== listed.join()) {
    const message = `has runs with seeds [${given.join(", ")}], the report says [${listed.join(", ")}]`;
    issues.push({ path: [...path, "seeds"], message });
  }
  if (counterfactual && !report.variants.some(({ name }) => name === counterfactual.of))
    issues.push({
      path: [...path, "counterfactual", "of"],
      message: `no variant is named "${counterfactual.of}"`,
    });
  return issues;
}

function variantIssues(variant: ReportVariant, path: Path): Inconsistency[] {
  const { curves, accuracy } = variant;
  const steps = curves.step.length;
  const issues = [
    ...sameLength(curves.loss, steps, [...path, "curves", "loss"], "one loss per recorded step"),
    ...sameLength(
      curves.trainAccuracy,
      steps,
      [...path, "curves", "trainAccuracy"],
      "one accuracy per recorded step",
    ),
    ...repeated(
      variant.stages.map((stage) => stage.name),
      [...path, "stages"],
      "stage name",
    ),
    ...variant.stages.flatMap((stage, index) => stageIssues(stage, [...path, "stages", index])),
  ];
  if (accuracy.correct !== null && accuracy.correct > accuracy.testImages) {
    const message = `${accuracy.correct} correct of ${accuracy.testImages} test images is more than all of them`;
    issues.push({ path: [...path, "accuracy", "correct"], message });
  }
  return issues;
}

function stageIssues(stage: ReportStage, path: Path): Inconsistency[] {
  const { featureMaps, weights, reuse, duplicates, paths } = stage.structure;
  const at = (...rest: Path): Path => [...path, "structure", ...rest];
  const maps = new Set(featureMaps.map((map) => map.symbol));
  const gradients = new Map(featureMaps.map((map) => [map.gradient, map.symbol]));
  const layers = new Set(weights.map((weight) => weight.symbol));
  const issues = [
    ...repeated(
      featureMaps.map((map) => map.symbol),
      at("featureMaps"),
      "feature map",
    ),
    ...repeated(
      weights.map((weight) => weight.symbol),
      at("weights"),
      "weight",
    ),
    ...weights.flatMap((weight, index) => [
      ...declared(weight.sources, maps, at("weights", index, "sources"), "feature map"),
      ...declared([weight.output], maps, at("weights", index, "output"), "feature map"),
    ]),
    ...declared(
      duplicates.pairs.map((pair) => pair.gradient),
      gradients,
      at("duplicates", "pairs"),
      "gradient",
    ),
    ...declared(
      duplicates.pairs.flatMap((pair) => pair.weights),
      layers,
      at("duplicates", "pairs"),
      "weight",
    ),
    ...declared(
      paths.map((entry) => entry.featureMap),
      maps,
      at("paths"),
      "feature map",
    ),
    ...stage.measured.flatMap((pieces, index) => [
      ...declared([pieces.featureMap], maps, [...path, "measured", index, "featureMap"], "feature map"),
      ...pieceIssues(pieces, [...path, "measured", index]),
    ]),
  ];
  reuse.forEach((entry, index) => {
    const source = gradients.get(entry.gradient);
    issues.push(...declared([entry.gradient], gradients, at("reuse", index), "gradient"));
    const readers = weights.filter((weight) => source !== undefined && weight.sources.includes(source));
    const listed = [...entry.weights].sort().join(", ");
    const derived = readers
      .map((weight) => weight.symbol)
      .sort()
      .join(", ");
    if (listed !== derived) {
      const message = `${entry.gradient} lists [${listed}], but the layers that read ${source} are [${derived}]`;
      issues.push({ path: at("reuse", index, "weights"), message });
    }
    if (entry.count !== entry.weights.length) {
      const message = `count ${entry.count} is not the number of weights listed, ${entry.weights.length}`;
      issues.push({ path: at("reuse", index, "count"), message });
    }
  });
  return issues;
}

function pieceIssues(pieces: ReportMeasuredPieces, path: Path): Inconsistency[] {
  const n = pieces.consumers.length;
  return pieces.samples.flatMap((sample, index) => {
    const at = [...path, "samples", index];
    return [
      ...sameLength(sample.norms, n, [...at, "norms"], "one norm per consumer"),
      ...sameLength(sample.cosine, n, [...at, "cosine"], "one row per consumer"),
      ...sample.cosine.flatMap((row, r) =>
        sameLength(row, n, [...at, "cosine", r], "one column per consumer"),
      ),
      ...symmetric(sample.cosine, [...at, "cosine"]),
      ...sameLength(sample.weightCka, n, [...at, "weightCka"], "one row per consumer"),
      ...sample.weightCka.flatMap((row, r) =>
        sameLength(row, n, [...at, "weightCka", r], "one column per consumer"),
      ),
      ...symmetric(sample.weightCka, [...at, "weightCka"]),
    ];
  });
}

/** The page prints each pair once, so a matrix with two answers for a pair is refused. */
function symmetric(matrix: readonly (readonly (number | null)[])[], path: Path): Inconsistency[] {
  return matrix.flatMap((row, a) =>
    row.flatMap((value, b) => {
      const mirror = matrix[b]?.[a];
      if (a >= b || mirror === undefined || mirror === value) return [];
      const close = mirror !== null && value !== null && Math.abs(mirror - value) <= 1e-6;
      return close
        ? []
        : [{ path: [...path, a, b], message: `not symmetric: ${value} here, ${mirror} at [${b}][${a}]` }];
    }),
  );
}

function sameLength(list: readonly unknown[], length: number, path: Path, rule: string): Inconsistency[] {
  if (list.length === length) return [];
  return [{ path, message: `expected ${length} entries (${rule}), received ${list.length}` }];
}

function repeated(names: readonly string[], path: Path, kind: string): Inconsistency[] {
  const twice = names.filter((name, index) => names.indexOf(name) !== index);
  return [...new Set(twice)].map((name) => ({ path, message: `${kind} "${name}" appears twice` }));
}

function declared(
  used: readonly string[],
  known: { has(name: string): boolean },
  path: Path,
  kind: string,
): Inconsistency[] {
  const unknown = [...new Set(used)].filter((name) => !known.has(name));
  return unknown.map((name) => ({ path, message: `${kind} "${name}" is not declared in this stage` }));
}
