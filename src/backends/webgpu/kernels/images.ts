/** Kernels over images: one thread per element [n, c, h, w] of the output, which gathers what belongs to it. */
import type { Numeral } from "../parameters.ts";
import { type GpuRuntime, type GpuView, layoutNumbers, positionText } from "../runtime.ts";
import { expressionFunctions } from "../wgsl.ts";
import { LoopAxes } from "./loopAxes.ts";

/** A kernel of one thread per output element. All texts are WGSL. */
export interface ImageKernel {
  readonly label: string;
  /** What the texts depend on beside the label. */
  readonly variant?: string;
  /** Read as `name_at(n, c, h, w)`. */
  readonly inputs: Readonly<Record<string, GpuView>>;
  readonly output: GpuView;
  readonly numbers?: Readonly<Record<string, Numeral>>;
  readonly declarations?: string;
  /** Statements that set `result` from `n`, `c`, `h` and `w`, the output's element. */
  readonly body: string;
}

/** Launches a kernel over images. */
export function launchImages(
  runtime: GpuRuntime,
  { label, variant = "", inputs, output, numbers, declarations = "", body }: ImageKernel,
): void {
  const elements = new LoopAxes("o", [output], { merge: false });
  const named = Object.entries(inputs);
  runtime.launch({
    label,
    variant,
    operands: [
      ...named.map(([name, { buffer }]) => ({ name, buffer, access: "read" }) as const),
      { name: "y", buffer: output.buffer, access: "write" },
    ],
    numbers: {
      ...elements.numbers(),
      y_o: output.offset,
      ...Object.assign({}, ...named.map(([name, view]) => layoutNumbers(name, view))),
      ...numbers,
    },
    threads: elements.size,
    shader: () => ({
      declarations: [
        expressionFunctions,
        ...named.map(
          ([name, { buffer }]) =>
            `fn ${name}_at(n: i32, c: i32, h: i32, w: i32) -> ${buffer.dtype === "f32" ? "f32" : "i32"} { return ${name}_get(${positionText(name, ["n", "c", "h", "w"])}); }`,
        ),
        declarations,
      ].join("\n"),
      body: `${elements.split("id")}
  let n = o0; let c = o1; let h = o2; let w = o3;
  var result: ${output.buffer.dtype === "f32" ? "f32" : "i32"};
${body}
  y_set(p.y_o + ${elements.at(0)}, result);`,
    }),
  });
}
