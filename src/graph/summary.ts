/**
 * A network at a glance: its modules as a tree with shapes, parameters and multiply-adds, and what it costs as a whole.
 *
 *     console.log(summary(densenet121(), [1, 3, 224, 224]).toString());
 */
import type { Module } from "../nn/index.ts";
import { formatShape, type Shape } from "../tensor/layout.ts";
import { renderTable, type TableColumn } from "../text/table.ts";
import { type Cost, cost } from "./cost.ts";
import { inputOutput, totalFlops } from "./countingRules.ts";
import { inferenceMemory, trainingMemory } from "./memory.ts";
import { type Trace, type TraceInput, trace } from "./trace.ts";

/** One module with all below it. */
export interface SummaryRow {
  /** "" for the whole network. */
  readonly path: string;
  /** What its parent calls it. */
  readonly name: string;
  /** Its class. */
  readonly type: string;
  /** 0 for the whole network. */
  readonly depth: number;
  /** Shape of what it computed last, the batch included; null when it did not run. */
  readonly outputShape: Shape | null;
  readonly parameters: number;
  /** Per image. */
  readonly multiplyAdds: number;
  /** Share of the network's multiply-adds, 0 to 1. */
  readonly share: number;
}

export interface SummaryTotals {
  readonly inputShape: Shape;
  readonly parameters: number;
  /** Weights of convolutions and linear layers alone, the paper's "#Parameter". */
  readonly weights: number;
  readonly frozenParameters: number;
  /** Per image, as all that follow up to `convPoolInputOutput`. */
  readonly multiplyAdds: number;
  /** Darknet's rule, the paper's BFLOPs times 1e9. */
  readonly darknetFlops: number;
  /** CIO: elements in and out of convolutions. */
  readonly convInputOutput: number;
  /** The same with pools, as in the paper's figure 8. */
  readonly convPoolInputOutput: number;
  /** Of all maps of the batch. */
  readonly activationBytes: number;
  /** Most bytes of maps at once in inference, when each is freed after its last use. */
  readonly inferenceBytes: number;
  /** Peak of a training step on the batch with momentum; null where one is not possible on such a batch. */
  readonly trainingBytes: number | null;
}

export interface SummaryOptions {
  /** How many levels of modules are rows: 1 is the network's own children. Default 2. */
  readonly depth?: number;
}

/** How a summary is printed. */
export interface SummaryPrintOptions {
  /** Columns of the terminal; default 100. Too few drop the share, the type and the shape, in this order. */
  readonly columns?: number;
}

/** What a network is made of and costs; print it, or take `rows` and `totals`. */
export class Summary {
  readonly model: string;
  /** The network itself first, then its modules in the order of their definition, parents before children. */
  readonly rows: readonly SummaryRow[];
  readonly totals: SummaryTotals;

  constructor(model: string, rows: readonly SummaryRow[], totals: SummaryTotals) {
    this.model = model;
    this.rows = rows;
    this.totals = totals;
  }

  /** The table and the totals as text, no line wider than the terminal as long as the numbers fit. */
  lines({ columns = 100 }: SummaryPrintOptions = {}): string[] {
    const header: readonly TableColumn[] = [
      { title: "Module", align: "left" },
      { title: "Type", align: "left", spare: 2 },
      { title: "Output", align: "left", spare: 1 },
      { title: "Parameters", align: "right" },
      { title: "MACs", align: "right" },
      { title: "Share", align: "right", spare: 3 },
    ];
    const [, ...modules] = this.rows;
    const rows = modules.map(({ name, type, depth, outputShape, parameters, multiplyAdds, share }) => [
      // A space that does not break keeps the tree's shape when the column wraps.
      "\u00a0\u00a0".repeat(depth - 1) + name,
      type,
      outputShape ? formatShape(outputShape) : "not run",
      parameters === 0 ? "-" : counted(parameters),
      multiplyAdds === 0 ? "-" : amount(multiplyAdds),
      multiplyAdds === 0 ? "" : `${(100 * share).toFixed(1)} %`,
    ]);
    return [
      `${this.model} on ${formatShape(this.totals.inputShape)}`,
      ...renderTable(header, rows, { width: columns }),
      ...this.footer(columns),
    ];
  }

  toString(): string {
    return this.lines().join("\n");
  }

  toJSON(): {
    readonly model: string;
    readonly totals: SummaryTotals;
    readonly modules: readonly SummaryRow[];
  } {
    return { model: this.model, totals: this.totals, modules: this.rows };
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return this.toString();
  }

  private footer(columns: number): string[] {
    const { totals } = this;
    const frozen = totals.frozenParameters > 0 ? `, ${counted(totals.frozenParameters)} of them frozen` : "";
    const rows = [
      ["Parameters", `${counted(totals.parameters)}${frozen}`],
      ["Weights without norms and biases", counted(totals.weights)],
      ["Multiply-adds per image", amount(totals.multiplyAdds)],
      ["BFLOPs per image, Darknet's rule", (totals.darknetFlops / 1e9).toFixed(3)],
      [
        "CIO per image, with pools",
        `${amount(totals.convInputOutput)}, ${amount(totals.convPoolInputOutput)}`,
      ],
      [
        "Maps of the batch, most at once",
        `${bytes(totals.activationBytes)}, ${bytes(totals.inferenceBytes)}`,
      ],
      [
        "Training step with momentum",
        totals.trainingBytes === null ? "needs a larger batch" : bytes(totals.trainingBytes),
      ],
    ];
    const header: readonly TableColumn[] = [
      { title: "Whole network", align: "left" },
      { title: "", align: "right" },
    ];
    return ["", ...renderTable(header, rows, { width: columns })];
  }
}

const counted = (count: number): string => count.toLocaleString("en-US");

/** Three decimals in the largest fitting unit of a thousand. */
function amount(count: number): string {
  const [factor, unit] =
    count >= 1e9 ? [1e9, "G"] : count >= 1e6 ? [1e6, "M"] : count >= 1e3 ? [1e3, "k"] : [1, ""];
  return unit === "" ? counted(count) : `${(count / factor).toFixed(3)} ${unit}`;
}

function bytes(count: number): string {
  const [factor, unit] =
    count >= 2 ** 30 ? [2 ** 30, "GiB"] : count >= 2 ** 20 ? [2 ** 20, "MiB"] : [2 ** 10, "KiB"];
  return `${(count / factor).toFixed(1)} ${unit}`;
}

function defaultInput(model: Module): Shape {
  const image: unknown = Reflect.get(model, "defaultInput");
  if (Array.isArray(image) && image.every((extent) => typeof extent === "number")) return [1, ...image];
  throw new Error(
    `summary: ${model.constructor.name} does not say what it takes; pass the input's shape, [1, 3, 224, 224] say`,
  );
}

/** Whether what happens in the module at `path` belongs to the one at `parent`. */
const isWithin = (path: string, parent: string): boolean =>
  parent === "" || path === parent || path.startsWith(`${parent}.`);

function summaryRows(model: Module, { graph }: Trace, { layers }: Cost, depth: number): SummaryRow[] {
  const total = layers.reduce((sum, layer) => sum + layer.multiplyAdds, 0);
  const rows: SummaryRow[] = [];
  const visit = (module: Module, path: string, name: string, level: number): void => {
    const last = graph.nodes.findLast(({ modulePath }) => isWithin(modulePath, path));
    const own = layers.filter(({ modulePath }) => isWithin(modulePath, path));
    const multiplyAdds = own.reduce((sum, layer) => sum + layer.multiplyAdds, 0);
    rows.push({
      ...{ path, name, type: module.constructor.name, depth: level },
      outputShape: last ? graph.values[last.output].shape : null,
      ...{ parameters: module.parameterCount(), multiplyAdds, share: total > 0 ? multiplyAdds / total : 0 },
    });
    if (level < depth)
      for (const [child, below] of module.namedChildren())
        visit(below, path ? `${path}.${child}` : child, child, level + 1);
  };
  visit(model, "", "", 0);
  return rows;
}

/** null where the module refuses the batch in training, as batch norm does one value per channel. */
function trainingBytes(model: Module, input: TraceInput): number | null {
  try {
    return trainingMemory(model, [input]).peakBytes;
  } catch (error) {
    if (error instanceof Error && /one value per channel/.test(error.message)) return null;
    throw error;
  }
}

/**
 * What `model` is made of and what it costs on `input`: a shape [N, C, H, W] or a tensor; by default one image of the
 * size that the model was made for, if it says so. Nothing is computed; the model stays as it is.
 *
 * Throws when the input's shape is not known, when the depth is not a positive number, and like `trace`.
 */
export function summary(model: Module, input?: TraceInput, { depth = 2 }: SummaryOptions = {}): Summary {
  if (!(depth >= 1)) throw new Error(`summary: depth ${depth} must be at least 1`);
  const given = input ?? defaultInput(model);
  const traced = trace(model, given);
  const counts = cost(traced);
  const inference = inferenceMemory(traced);
  const { layers } = counts;
  const frozen = model.parameters().filter(({ requiresGrad }) => !requiresGrad);
  return new Summary(model.constructor.name, summaryRows(model, traced, counts, depth), {
    inputShape: traced.graph.values[traced.inputs[0]].shape,
    parameters: model.parameterCount(),
    weights: counts.weights,
    frozenParameters: frozen.reduce((sum, { size }) => sum + size, 0),
    multiplyAdds: totalFlops(layers, "macs") / 2,
    darknetFlops: totalFlops(layers, "darknet"),
    convInputOutput: counts.convInputOutput,
    convPoolInputOutput: inputOutput(layers, { pools: true }),
    activationBytes: inference.activationBytes,
    inferenceBytes: inference.peakBytes,
    trainingBytes: trainingBytes(model, given),
  });
}
