/** Numbers for test tensors: every value of a domain stands for a code, and small codes for simple values. */
import type { Domain, SampleInput } from "../autograd/defineOp.ts";
import { type DType, isFloat } from "../backends/dtype.ts";
import { Generator } from "../tensor/generator.ts";
import { sizeOf } from "../tensor/layout.ts";

/** Codes run from 0 to here. */
export const largestCode = 0xffff;

/** How far from a kink values stay, and how far apart distinct ones are. */
const margin = 0.1;

/** The lower half of the codes counts up from 0, the upper half down from -1: halving a code halves the value. */
const signed = (code: number): number =>
  code <= largestCode / 2 ? code : Math.floor(largestCode / 2) - code;

/** A multiple of 1/10000 between -3.3 and 3.3; 0 for code 0. */
const real = (code: number): number => signed(code) / 10_000;

function awayFrom(points: readonly number[], value: number): number {
  const near = points.find((point) => Math.abs(value - point) < margin);
  if (near === undefined) return value;
  return near + (value < near ? -margin : margin);
}

/** Values 0.1 apart in the order of the codes, none of them a multiple of 1/10000, as other inputs' values are. */
function distinct(codes: readonly number[]): number[] {
  const order = codes.map((_, i) => i).sort((a, b) => codes[a] - codes[b] || a - b);
  const values = new Array<number>(codes.length);
  order.forEach((position, rank) => {
    values[position] = (rank - Math.floor(codes.length / 2)) * margin + 0.03005;
  });
  return values;
}

/** The values that `codes` stand for in a domain. */
export function valuesOf(codes: readonly number[], domain: Domain, dtype: DType): number[] {
  if (dtype === "bool") return codes.map((code) => code % 2);
  switch (domain.kind) {
    case "index":
      return codes.map((code) => Math.floor((code / (largestCode + 1)) * domain.below));
    case "distinct":
      return isFloat(dtype) ? distinct(codes) : distinct(codes).map((value) => Math.round(value / margin));
    case "positive":
      return isFloat(dtype)
        ? codes.map((code) => margin + Math.floor(code / 2) / 10_000)
        : codes.map((code) => 1 + (code % 8));
    case "away":
      return codes.map((code) => (isFloat(dtype) ? awayFrom(domain.from, real(code)) : signed(code) % 9));
    case "real":
      return codes.map((code) => {
        if (isFloat(dtype)) return real(code);
        return dtype === "u8" ? code % 256 : signed(code) % 9;
      });
  }
}

const anyReal: Domain = { kind: "real" };

/** Random values for all inputs of a sample; those that must be distinct are so across inputs. */
export function drawValues(
  inputs: readonly SampleInput[],
  unstatedDtype: "f32" | "f64",
  seed: number,
): number[][] {
  const generator = new Generator(seed);
  const codes = inputs.map(({ shape }) => {
    const list = new Int32Array(sizeOf(shape));
    generator.integers(list, 0, largestCode + 1);
    return Array.from(list);
  });
  const isDistinct = ({ domain, dtype = unstatedDtype }: SampleInput) =>
    domain?.kind === "distinct" && isFloat(dtype);
  const shared = distinct(codes.flatMap((list, i) => (isDistinct(inputs[i]) ? list : [])));
  let taken = 0;
  return inputs.map((input, i) => {
    const { domain = anyReal, dtype = unstatedDtype } = input;
    if (!isDistinct(input)) return valuesOf(codes[i], domain, dtype);
    taken += codes[i].length;
    return shared.slice(taken - codes[i].length, taken);
  });
}
