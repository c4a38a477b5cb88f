/** sum: floats level by level in parts of at most 1,024 (4,096 where four are read at a time), integers exactly. */
import type { KernelAttributes } from "../../backend.ts";
import { scalarOf } from "../programs.ts";
import type { GpuKernel } from "../runtime.ts";
import { launchReduction } from "./reduction.ts";
import { keptLayout } from "./reductionSpec.ts";

export const sum: GpuKernel<KernelAttributes["sum"]> = (runtime, [x], output, { axes }) =>
  launchReduction(runtime, {
    label: "sum",
    inputs: [x],
    axes,
    operands: [{ name: "y", buffer: output.buffer, access: "write", layout: keptLayout(output, axes) }],
    slots: [{ name: "total", type: scalarOf(x.buffer.dtype), start: "0" }],
    fold: "    total += a0;",
    merge: "    total += other_total;",
    finish: "  y_set(y_at, total);",
    mayVectorise: true,
  });
