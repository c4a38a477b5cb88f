/**
 * Small kernels that do not depend on each other, as one launch: a launch costs more than laying down one layer's
 * images or weights, and most of what JavaScript does in a step is to launch. Each job has a range of the threads.
 */
import type { Numeral } from "../parameters.ts";
import type { GpuRuntime, LaunchOperand } from "../runtime.ts";

/** A part of a launch. The names of what it declares begin with `name`. */
export interface Job {
  /** In profiles. */
  readonly label: string;
  readonly name: string;
  readonly variant: string;
  readonly operands: readonly LaunchOperand[];
  /** Read by the body as `p.` and the name. */
  readonly numbers: Readonly<Record<string, Numeral>>;
  readonly threads: number;
  /** The WGSL; the job's running index is `e`. What several jobs declare with the same text is declared once. */
  shader(): { readonly declarations?: readonly string[]; readonly body: string };
}

const workgroupSize = 64;

/** Launches the jobs as one kernel; nothing happens without any. */
export function launchJobs(runtime: GpuRuntime, jobs: readonly Job[]): void {
  // A workgroup does one job: neighbouring threads that take different turns wait for each other.
  const widths = jobs.map(({ threads }) => Math.ceil(threads / workgroupSize) * workgroupSize);
  const numbers: Record<string, Numeral> = {};
  jobs.forEach((job, i) => {
    Object.assign(numbers, job.numbers, {
      [`${job.name}threads`]: job.threads,
      [`${job.name}width`]: widths[i],
    });
  });
  runtime.launch({
    label: jobs.map(({ label }) => label).join(" + "),
    variant: jobs.map(({ variant }) => variant).join("+"),
    operands: jobs.flatMap(({ operands }) => operands),
    numbers,
    threads: widths.reduce((sum, width) => sum + width, 0),
    workgroupSize,
    shader: () => {
      const shaders = jobs.map((job) => job.shader());
      return {
        declarations: [...new Set(shaders.flatMap(({ declarations = [] }) => declarations))].join("\n"),
        body: `  var e = id;
${jobs
  .map(
    ({ name }, i) => `  if (e < p.${name}width) {
  if (e >= p.${name}threads) { return; }
${shaders[i].body}
  return;
  }
  e -= p.${name}width;`,
  )
  .join("\n")}`,
      };
    },
  });
}
