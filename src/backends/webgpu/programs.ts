/**
 * Kernels as WGSL. A kernel file writes the body of `main` and names its operands and numbers; this file adds what
 * every shader needs around it: bindings, accessors and the running index.
 *
 * A buffer that several operands look at is bound once: WebGPU refuses one buffer with two kinds of access, and a
 * dense block's input and output are channels of the same memory. So a body reads `x_get(i)` and writes
 * `y_set(i, value)`, whatever binding lies behind.
 */
import type { DType } from "../dtype.ts";

/** How an operand is used. */
export type Access = "read" | "write" | "readWrite";

/** What a shader needs to know of an operand. */
export interface OperandType {
  readonly name: string;
  readonly dtype: DType;
  readonly access: Access;
  /** Which binding it shares; operands of one buffer have the same. */
  readonly binding: number;
  /** Whether the binding's elements are half precision; the body sees f32 all the same. */
  readonly half: boolean;
  /** Read and written four elements at a time, at multiples of four: `x_get4(i)` is elements i to i + 3. */
  readonly vector: boolean;
}

export interface ShaderSource {
  readonly operands: readonly OperandType[];
  /** Names of the numbers, in order; a body reads them as `p.name`. */
  readonly numbers: readonly { readonly name: string; readonly type: "i32" | "f32" }[];
  /** Invocations of a workgroup. */
  readonly workgroupSize: number;
  /** Whether the body calls quad functions (`quadSwapX(value)`, …). */
  readonly quads?: boolean;
  /** Declarations in front of `main`: functions, workgroup memory, constants. */
  readonly declarations?: string;
  /** The body of `main`; `id` is the running index, `group` the workgroup's, `lane` the index in it. */
  readonly body: string;
}

/** The WGSL type of an element in a register; u8 and bool are whole words. */
export const scalarOf = (dtype: DType): "f32" | "i32" => (dtype === "f32" ? "f32" : "i32");

/** Workgroups of one row of a dispatch: WebGPU's limit per dimension. More go into further rows. */
export const groupsPerRow = 65535;

/** How a buffer is bound, and what its elements are in memory. */
interface Binding {
  readonly writable: boolean;
  readonly scalar: "f32" | "i32" | "f16";
  readonly vector: boolean;
}

/** The bindings in order. */
export function bindingsOf(operands: readonly OperandType[]): Binding[] {
  const count = Math.max(-1, ...operands.map(({ binding }) => binding)) + 1;
  return Array.from({ length: count }, (_, binding) => {
    const users = operands.filter((operand) => operand.binding === binding);
    return {
      writable: users.some(({ access }) => access !== "read"),
      scalar: users[0].half ? "f16" : scalarOf(users[0].dtype),
      vector: users.every(({ vector }) => vector),
    };
  });
}

function accessors(
  { name, access, binding, vector, dtype, half }: OperandType,
  bindings: readonly Binding[],
): string {
  const { vector: wide } = bindings[binding];
  const scalar = scalarOf(dtype);
  const at = `b${binding}`;
  // A byte has a word to itself, but wraps like a byte.
  const value = half ? "f16(v)" : dtype === "u8" ? "(v & 255)" : "v";
  const wideValue = half ? "vec4<f16>(v)" : dtype === "u8" ? "(v & vec4<i32>(255))" : "v";
  // Half precision is how memory holds an element; in registers it is f32.
  const loaded = (text: string): string => (half ? `f32(${text})` : text);
  const wideLoaded = (text: string): string => (half ? `vec4<f32>(${text})` : text);
  const lines: string[] = [];
  const lanes = [0, 1, 2, 3];
  if (access !== "write") {
    lines.push(
      wide
        ? `fn ${name}_get(i: i32) -> ${scalar} { return ${loaded(`${at}[i >> 2][i & 3]`)}; }`
        : `fn ${name}_get(i: i32) -> ${scalar} { return ${loaded(`${at}[i]`)}; }`,
    );
    if (vector)
      lines.push(
        `fn ${name}_get4(i: i32) -> vec4<${scalar}> { return ${
          wide
            ? wideLoaded(`${at}[i >> 2]`)
            : `vec4<${scalar}>(${lanes.map((lane) => loaded(`${at}[i + ${lane}]`)).join(", ")})`
        }; }`,
      );
  }
  if (access !== "read") {
    lines.push(
      wide
        ? `fn ${name}_set(i: i32, v: ${scalar}) { ${at}[i >> 2][i & 3] = ${value}; }`
        : `fn ${name}_set(i: i32, v: ${scalar}) { ${at}[i] = ${value}; }`,
    );
    if (vector)
      lines.push(
        `fn ${name}_set4(i: i32, v: vec4<${scalar}>) { ${
          wide
            ? `${at}[i >> 2] = ${wideValue};`
            : lanes.map((lane) => `${at}[i + ${lane}] = ${wideValue}[${lane}];`).join(" ")
        } }`,
      );
  }
  return lines.join("\n");
}

/** The whole shader. */
export function shaderText(source: ShaderSource): string {
  const { operands, numbers, workgroupSize, quads = false, declarations = "", body } = source;
  const bindings = bindingsOf(operands);
  const buffers = bindings.map(({ writable, scalar, vector }, i) => {
    const element = vector ? `vec4<${scalar}>` : scalar;
    return `@group(0) @binding(${i}) var<storage, ${writable ? "read_write" : "read"}> b${i}: array<${element}>;`;
  });
  const features = [quads ? "subgroups" : "", bindings.some(({ scalar }) => scalar === "f16") ? "f16" : ""];
  const enabled = features.filter(Boolean).map((feature) => `enable ${feature};\n`);
  const fields = numbers.map(({ name, type }) => `  ${name}: ${type},`);
  return `${enabled.join("")}${fields.length > 0 ? `struct Parameters {\n${fields.join("\n")}\n}\n` : ""}${buffers.join("\n")}
${fields.length > 0 ? `@group(0) @binding(${bindings.length}) var<uniform> p: Parameters;\n` : ""}
${operands.map((operand) => accessors(operand, bindings)).join("\n")}
${declarations}
@compute @workgroup_size(${workgroupSize})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let lane = i32(local);
  let group = i32(workgroup.y * ${groupsPerRow}u + workgroup.x);
  let id = group * ${workgroupSize} + lane;
${body}
}
`;
}
