/**
 * Tables for a terminal of any width. Too narrow a terminal first loses the columns that can be spared, then wraps
 * the text of the first column, and at last gets one small block per row; a number is never cut or wrapped away.
 */

export interface TableColumn {
  readonly title: string;
  readonly align: "left" | "right";
  /** Dropped when the table does not fit, the highest number first; without it the column always stays. */
  readonly spare?: number;
}

export interface TableOptions {
  /** Columns of the terminal that the table may use. */
  readonly width: number;
  /** Colours the text of one cell; row -1 is the header. What it returns must be as wide as what it gets. */
  readonly paint?: (text: string, row: number, column: number) => string;
}

const gap = "  ";
const narrowestFirstColumn = 14;

/** The lines of a table; none is wider than `width` as long as single words and numbers fit. */
export function renderTable(
  columns: readonly TableColumn[],
  rows: readonly (readonly string[])[],
  { width, paint = (text) => text }: TableOptions,
): string[] {
  const natural = columns.map((column, index) =>
    Math.max(displayWidth(column.title), ...rows.map((row) => displayWidth(row[index] ?? ""))),
  );
  const kept = columns.map((_, index) => index);
  const total = () =>
    kept.reduce((sum, index) => sum + (natural[index] ?? 0), 0) + gap.length * Math.max(0, kept.length - 1);
  const sparable = kept.filter((index) => columns[index]?.spare !== undefined);
  sparable.sort((a, b) => (columns[b]?.spare ?? 0) - (columns[a]?.spare ?? 0));
  for (const index of sparable) if (total() > width) kept.splice(kept.indexOf(index), 1);

  const first = kept[0] ?? 0;
  const excess = Math.max(0, total() - width);
  const firstWidth = (natural[first] ?? 0) - excess;
  if (excess > 0 && firstWidth < narrowestFirstColumn) return blocks(columns, rows, kept, width, paint);
  natural[first] = firstWidth;

  const line = (cells: readonly string[], row: number): string[] => {
    const wrapped = wrapText(cells[first] ?? "", firstWidth);
    return wrapped.map((head, lineIndex) =>
      kept
        .map((index) => {
          const text = index === first ? head : lineIndex === 0 ? (cells[index] ?? "") : "";
          const painted = text === "" ? "" : paint(text, row, index);
          return pad(painted, natural[index] ?? 0, columns[index]?.align ?? "left");
        })
        .join(gap)
        .trimEnd(),
    );
  };
  return [
    ...line(
      columns.map((column) => column.title),
      -1,
    ),
    "─".repeat(Math.min(width, total())),
    ...rows.flatMap((row, index) => line(row, index)),
  ];
}

/** One block per row, for terminals too narrow for columns: the first cell, then one line per other cell. */
function blocks(
  columns: readonly TableColumn[],
  rows: readonly (readonly string[])[],
  kept: readonly number[],
  width: number,
  paint: (text: string, row: number, column: number) => string,
): string[] {
  return rows.flatMap((row, rowIndex) =>
    kept.flatMap((index, position) => {
      const text = row[index] ?? "";
      if (position === 0) return wrapText(text, width).map((line) => paint(line, rowIndex, index));
      if (text === "") return [];
      const title = columns[index]?.title ?? "";
      const room = width - 2 - displayWidth(title) - gap.length;
      if (displayWidth(text) <= room) {
        const filler = " ".repeat(room - displayWidth(text) + gap.length);
        return `  ${title}${filler}${paint(text, rowIndex, index)}`;
      }
      return [...wrapText(title, width - 2), ...wrapText(text, width - 4).map((part) => `  ${part}`)].map(
        (part) => `  ${part}`,
      );
    }),
  );
}

/** Pads to a display width; text that is already wider stays whole. */
export function pad(text: string, width: number, align: "left" | "right"): string {
  const filler = " ".repeat(Math.max(0, width - displayWidth(text)));
  return align === "left" ? text + filler : filler + text;
}

/** Breaks text at spaces, and inside a word only if the word alone is too wide; at least one line. */
export function wrapText(text: string, width: number, hangingIndent = ""): string[] {
  const lines: string[] = [];
  let line = "";
  const room = () => Math.max(1, width - (lines.length === 0 ? 0 : displayWidth(hangingIndent)));
  for (const word of text.split(" ")) {
    const joined = line === "" ? word : `${line} ${word}`;
    if (displayWidth(joined) <= room()) {
      line = joined;
      continue;
    }
    if (line !== "") lines.push(line);
    line = "";
    for (const letter of graphemes(word)) {
      if (displayWidth(line + letter) > room() && line !== "") {
        lines.push(line);
        line = "";
      }
      line += letter;
    }
  }
  lines.push(line);
  return lines.map((part, index) => (index === 0 ? part : hangingIndent + part));
}

const segmenter = new Intl.Segmenter("en", { granularity: "grapheme" });
// biome-ignore lint/suspicious/noControlCharactersInRegex: the escape character is what starts a colour code
const colourCode = /\x1b\[[0-9;]*m/g;
const wide =
  /\p{Emoji_Presentation}|[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]/u;

function graphemes(text: string): string[] {
  return [...segmenter.segment(text)].map(({ segment }) => segment);
}

/** Terminal columns that a text takes: colour codes none, East Asian and emoji characters two. */
export function displayWidth(text: string): number {
  const letters = graphemes(text.replace(colourCode, ""));
  return letters.reduce((sum, letter) => sum + (wide.test(letter) ? 2 : 1), 0);
}
