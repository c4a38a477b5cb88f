/**
 * The paper's tables 1 and 3 beside our counts: for every row the printed figure, ours and the difference; as data, as
 * Markdown, and as a table for the terminal.
 */
import type { TableColumn } from "../text/table.ts";
import { renderTable, wrapText } from "../text/table.ts";
import { type CountedNetwork, countNetwork } from "./counted.ts";
import { type PaperRow, type RowStatus, table1, table3 } from "./paperRows.ts";

/** A printed figure and ours. */
export interface ComparedFigure {
  /** As the paper prints it, in millions of parameters or billions of operations; null where it prints none. */
  readonly paper: string | null;
  /** In the same unit, not rounded; null where nothing is counted. */
  readonly ours: number | null;
  /** ours / paper − 1; null where either is missing. */
  readonly difference: number | null;
  /** Whether ours, rounded to the digits that the paper prints, is the paper's figure; null where either is missing. */
  readonly same: boolean | null;
}

export interface ComparedRow {
  readonly model: string;
  readonly partialRatio: number | null;
  readonly status: RowStatus;
  /** Side of the counted image in pixels. */
  readonly input: number | null;
  readonly parameters: ComparedFigure;
  readonly bflops: ComparedFigure;
  /** What was counted as operations and as parameters. */
  readonly rule: string | null;
  readonly counted: "weights" | "all parameters" | null;
  /** The paper's accuracy in per cent; we did not train these networks on ImageNet. */
  readonly paperTop1: string;
  readonly paperTop5: string | null;
  /** Why ours differ; null where they do not. */
  readonly reason: string | null;
}

export interface ComparedTable {
  readonly number: 1 | 3;
  readonly title: string;
  readonly rows: readonly ComparedRow[];
}

function compare(paper: string | undefined, ours: number | null): ComparedFigure {
  if (paper === undefined || ours === null)
    return { paper: paper ?? null, ours, difference: null, same: null };
  const digits = paper.split(".")[1]?.length ?? 0;
  return { paper, ours, difference: ours / Number(paper) - 1, same: ours.toFixed(digits) === paper };
}

function compareRow(row: PaperRow): ComparedRow {
  const { model, build, rule = "darknet", allParameters = false } = row;
  const counted: CountedNetwork | null = build ? countNetwork(model, build, { rule }) : null;
  const count = counted && (allParameters ? counted.parameters : counted.weights) / 1e6;
  const parameters = compare(row.parameters, count);
  const bflops = compare(row.bflops, counted && counted.flops / 1e9);
  const differs = !counted || parameters.same === false || bflops.same === false;
  if (differs && row.reason === undefined)
    throw new Error(
      `paperTables: ${model} counts ${count} M parameters and ${bflops.ours} BFLOPs, the paper prints ` +
        `${row.parameters ?? "none"} and ${row.bflops ?? "none"}; its row in paperRows.ts needs a reason`,
    );
  return {
    ...{ model, partialRatio: row.partialRatio ?? null, status: row.status },
    ...{ input: counted?.inputShape[1] ?? null, parameters, bflops },
    rule: counted ? rule : null,
    counted: counted && (allParameters ? "all parameters" : "weights"),
    ...{ paperTop1: row.top1, paperTop5: row.top5 ?? null },
    reason: differs ? (row.reason ?? null) : null,
  };
}

/**
 * Builds and counts every network of both tables, without values: well under a second each. Throws when a row differs
 * from the paper and has no reason for it.
 */
export function compareWithPaper(): readonly ComparedTable[] {
  return [
    { number: 1, title: "Table 1: ablation of CSPNet on ImageNet", rows: table1.map(compareRow) },
    { number: 3, title: "Table 3: ImageNet classification", rows: table3.map(compareRow) },
  ];
}

const statuses: Readonly<Record<RowStatus, string>> = {
  public: "the configuration is public",
  exact: "fixed by the paper's figures",
  hits: "inferred, every printed figure comes out",
  near: "inferred, a printed figure is missed by little",
  quoted: "quoted by the paper from elsewhere",
};

/** Digits of ours: those of the paper and one more, to show which way it was rounded. */
function oursText({ paper, ours }: ComparedFigure): string {
  if (ours === null) return "-";
  return ours.toFixed((paper?.split(".")[1]?.length ?? 2) + 1);
}

function differenceText({ difference, same }: ComparedFigure): string {
  if (difference === null) return "";
  const percent = (100 * difference).toFixed(2);
  const signed = `${difference > 0 && Number(percent) !== 0 ? "+" : ""}${Number(percent) === 0 ? "0.00" : percent} %`;
  return same ? `= (${signed})` : signed;
}

const columnTitles = [
  ...["Model", "γ", "Top-1, paper", "Top-5, paper", "Input"],
  ...["Parameters, paper (M)", "ours", "difference", "BFLOPs, paper", "ours", "difference", "Architecture"],
];

function cells(row: ComparedRow): string[] {
  const { model, partialRatio, paperTop1, paperTop5, input, parameters, bflops, status } = row;
  return [
    ...[model, partialRatio === null ? "" : String(partialRatio), paperTop1, paperTop5 ?? ""],
    input === null ? "" : String(input),
    ...[parameters, bflops].flatMap((figure) => [
      figure.paper ?? "-",
      oursText(figure),
      differenceText(figure),
    ]),
    status,
  ];
}

/** What counts as what, in sentences. */
const explanation = [
  "Ours are counted on the traced graph of the networks that createModel builds. BFLOPs are those of Darknet of " +
    "November 2019: 2 x weights x output positions of every convolution and k x k x outputs of every max pool; for " +
    "the two DenseNet-201-Elastic rows twice what allenai/elastic's counter gives; for networks of other papers " +
    "(HarDNet, DenseNet-264, ResNet-152, Res2Net) twice the multiply-adds. Parameters are the weights of " +
    "convolutions alone, without biases and norms; all parameters for the Elastic rows and the networks of other " +
    "papers.",
  "= says that ours rounds to what the paper prints. Accuracies are the paper's.",
];

const reasonsOf = ({ rows }: ComparedTable) =>
  rows.flatMap(({ model, reason }) => (reason === null ? [] : [{ model, reason }]));

/** What makes docs/paper-tables.md. */
const markdownCommand = "npx tsx examples/paper-tables.ts --format markdown --out docs/paper-tables.md";

/** The tables as a page of Markdown, the reasons below each. */
export function renderMarkdown(tables: readonly ComparedTable[]): string {
  const line = (texts: readonly string[]) => `| ${texts.join(" | ")} |`;
  const align = columnTitles.map((_, i) => (i === 0 || i === columnTitles.length - 1 ? "---" : "---:"));
  const legend = Object.entries(statuses).map(([status, meaning]) => `*${status}*: ${meaning}`);
  return [
    "# The paper's tables, counted",
    "",
    `Generated by \`${markdownCommand}\`; a test keeps it up to date.`,
    "",
    ...explanation.flatMap((paragraph) => [paragraph, ""]),
    `Architecture: ${legend.join("; ")}.`,
    "",
    ...tables.flatMap((table) => [
      ...[`## ${table.title}`, "", line(columnTitles), line(align)],
      ...table.rows.map((row) => line(cells(row))),
      "",
      ...reasonsOf(table).map(({ model, reason }) => `- **${model}**: ${reason}`),
      ...(reasonsOf(table).length > 0 ? [""] : []),
    ]),
  ].join("\n");
}

/** The tables for a terminal of so many columns; narrow ones lose accuracies, input and γ first. */
export function renderPaperTables(tables: readonly ComparedTable[], columns: number): string {
  const spares = new Map([
    ["Top-5, paper", 8],
    ["Top-1, paper", 7],
    ["Architecture", 6],
    ["Input", 5],
  ]);
  const header = columnTitles.map((title, i): TableColumn => {
    const spare = spares.get(title);
    return {
      title: title.replace(", paper", ""),
      align: i === 0 ? "left" : "right",
      ...(spare ? { spare } : {}),
    };
  });
  return [
    ...explanation.flatMap((paragraph) => [...wrapText(paragraph, columns), ""]),
    ...tables.flatMap((table) => [
      table.title,
      ...renderTable(header, table.rows.map(cells), { width: columns }),
      "",
      ...reasonsOf(table).flatMap(({ model, reason }) => wrapText(`${model}: ${reason}`, columns, "  ")),
      "",
    ]),
  ].join("\n");
}
