/**
 * How the report prints numbers, the same in the terminal and on the page. A row of figures that will be compared
 * shares one unit and one number of decimals, as in a paper's table.
 */

/** What stands where a number was not measured. */
export const notMeasured = "n/m";

/** One unit for several numbers: its label for the header and how each of them is printed under it. */
export interface Scale {
  /** Such as `MiB` or `%`; empty for plain counts and ratios. */
  readonly label: string;
  format(value: number | null): string;
}

interface Prefix {
  readonly factor: number;
  readonly label: string;
}

const plain: Prefix = { factor: 1, label: "" };
const decimalPrefixes: readonly Prefix[] = [
  { factor: 1e12, label: "T" },
  { factor: 1e9, label: "G" },
  { factor: 1e6, label: "M" },
  { factor: 1e3, label: "k" },
];
const binaryPrefixes: readonly Prefix[] = [
  { factor: 2 ** 30, label: "Gi" },
  { factor: 2 ** 20, label: "Mi" },
  { factor: 2 ** 10, label: "Ki" },
];

/**
 * The scale under which these values are printed side by side.
 * @param unit `count`, `fraction` (printed as %), `bytes`, `FLOPs`, `elements`, `ratio`, or free text such as `ms`
 */
export function scaleFor(unit: string, values: readonly (number | null)[]): Scale {
  const sizes = values.filter((value) => value !== null).map(Math.abs);
  const largest = Math.max(0, ...sizes);
  if (unit === "fraction") return scale("%", 0.01, 2);
  if (unit === "count" && sizes.every(Number.isInteger)) return scale("", 1, 0);
  if (unit === "bytes" || unit === "FLOPs" || unit === "elements") {
    const prefixes = unit === "bytes" ? binaryPrefixes : decimalPrefixes;
    const prefix = prefixes.find(({ factor }) => largest >= factor) ?? plain;
    const name = unit === "bytes" ? "B" : unit;
    const separator = unit === "elements" && prefix.label !== "" ? " " : "";
    return scale(
      prefix.label + separator + name,
      prefix.factor,
      prefix === plain ? 0 : decimals(largest / prefix.factor),
    );
  }
  const label = unit === "count" || unit === "ratio" ? "" : unit;
  return scale(label, 1, sizes.every(Number.isInteger) ? 0 : decimals(largest));
}

/** One number with its unit: `12.34 MiB`, `98.12 %`, `1,234`. */
export function formatValue(value: number | null, unit: string): string {
  const { label, format } = scaleFor(unit, [value]);
  return value === null || label === "" ? format(value) : `${format(value)} ${label}`;
}

/** A number between about -1 and 1 (a cosine, a share) with three decimals. */
export function formatRatio(value: number | null): string {
  return value === null ? notMeasured : withoutNegativeZero(value.toFixed(3));
}

/** Four significant digits, in powers of ten where that is shorter: `0.01234`, `1.234e-7`, `12,345`. */
export function formatNumber(value: number | null): string {
  if (value === null) return notMeasured;
  const size = Math.abs(value);
  if (value === 0) return "0";
  if (size < 1e-3 || size >= 1e9) return value.toExponential(3);
  return Number.isInteger(value)
    ? grouped(String(value))
    : grouped(value.toFixed(size < 1 ? 4 : decimals(size)));
}

/** A count that may be too large for a double (decimal digits), with its power of two: `65,536 = 2^16`. */
export function formatPathCount(digits: string): string {
  const count = BigInt(digits);
  const bits = count.toString(2);
  const exact = /^10+$/.test(bits) && count > 2n;
  if (digits.length <= 15) return exact ? `${grouped(digits)} = 2^${bits.length - 1}` : grouped(digits);
  const leading = Number(digits.slice(0, 15)) / 10 ** 14;
  const short = `${leading.toFixed(3)}e+${digits.length - 1}`;
  return exact ? `${short} = 2^${bits.length - 1}` : short;
}

/**
 * The change from a baseline in words: `21.3 % fewer`, `the same`.
 * @param words what less and more are called: fewer/more for counts, less/more for amounts
 */
export function formatChange(
  baseline: number,
  value: number,
  words: readonly [less: string, more: string],
): string {
  if (value === baseline) return "the same";
  if (baseline === 0) return `${formatNumber(value)} instead of 0`;
  const percent = Math.abs(value / baseline - 1) * 100;
  return `${percent < 0.1 ? "under 0.1" : percent.toFixed(1)} % ${value < baseline ? words[0] : words[1]}`;
}

/**
 * The change from a baseline, signed: percentage points for a fraction (`-0.16 pp`), else percent of the baseline
 * (`-21.3 %`); empty where there is nothing to compare or to divide by.
 */
export function formatDifference(baseline: number | null, value: number | null, unit: string): string {
  if (baseline === null || value === null) return "";
  if (unit === "fraction") return `${signed((value - baseline) * 100, 2)} pp`;
  return baseline === 0 ? "" : `${signed((value / baseline - 1) * 100, 1)} %`;
}

function signed(value: number, digits: number): string {
  const text = withoutNegativeZero(value.toFixed(digits));
  return value > 0 && Number(text) !== 0 ? `+${text}` : text;
}

function scale(label: string, factor: number, digits: number): Scale {
  return {
    label,
    format: (value) =>
      value === null ? notMeasured : withoutNegativeZero(grouped((value / factor).toFixed(digits))),
  };
}

/** Decimals that give the largest of the numbers four significant digits. */
function decimals(size: number): number {
  if (size >= 1000 || size === 0) return 0;
  if (size >= 100) return 1;
  if (size >= 10) return 2;
  return size >= 0.1 ? 3 : 4;
}

function grouped(number: string): string {
  const [whole = "", rest] = number.split(".");
  const separated = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return rest === undefined ? separated : `${separated}.${rest}`;
}

function withoutNegativeZero(number: string): string {
  return /^-[0.,]+$/.test(number) ? number.slice(1) : number;
}
