/** A report as TensorBoard runs: curves, the figures of every stage, and the similarity of every pair of pieces. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { GradientReuseReport, ReportVariant } from "../gradflow/index.ts";
import { writeFilesAtomically } from "../io/atomicFiles.ts";
import { encodeEvents, eventFileHeader, eventFileName, type TensorBoardEvent } from "../io/index.ts";

type Event = TensorBoardEvent;

/** What the events of one run have in common. */
interface Clock {
  /** Seconds since 1970: the report does not say when each step was. */
  readonly wallTime: number;
}

/** A scalar that was measured; a missing one leaves the step out. */
function scalar(tag: string, step: number, value: number | null, { wallTime }: Clock): Event[] {
  return value === null ? [] : [{ tag, step, wallTime, scalar: value }];
}

function histogram(
  tag: string,
  step: number,
  values: readonly (number | null)[],
  { wallTime }: Clock,
): Event[] {
  const known = values.filter((value) => value !== null);
  return known.length > 0 ? [{ tag, step, wallTime, histogram: known }] : [];
}

function curveEvents({ curves }: Pick<ReportVariant, "curves">, clock: Clock): Event[] {
  return [
    ...curves.step.flatMap((step, i) => [
      ...scalar("training/loss", step, curves.loss[i], clock),
      ...scalar("training/accuracy", step, curves.trainAccuracy[i], clock),
    ]),
    ...curves.evaluations.flatMap(({ step, testAccuracy }) =>
      scalar("test/accuracy", step, testAccuracy, clock),
    ),
  ];
}

type Sampled = Pick<ReportVariant["stages"][number], "name" | "samples">;

function stageEvents({ name, samples }: Sampled, clock: Clock): Event[] {
  return samples.flatMap(({ step, ...figures }) =>
    Object.entries(figures).flatMap(([figure, value]) => scalar(`${name}/${figure}`, step, value, clock)),
  );
}

/** Every pair of pieces by itself, and the distribution of all cosines of a map. */
function pieceEvents({ name, measured }: ReportVariant["stages"][number], clock: Clock): Event[] {
  return measured.flatMap(({ featureMap, consumers, samples }) =>
    samples.flatMap(({ step, cosine, norms }) => {
      const pairs = cosine.flatMap((row, a) =>
        row.slice(a + 1).map((value, k) => ({ value, edge: `${consumers[a]} ${consumers[a + 1 + k]}` })),
      );
      return [
        ...pairs.flatMap(({ value, edge }) =>
          scalar(`${name} cosine at ${featureMap}/${edge}`, step, value, clock),
        ),
        ...histogram(
          `${name}/cosines at ${featureMap}`,
          step,
          pairs.map(({ value }) => value),
          clock,
        ),
        ...histogram(`${name}/norms at ${featureMap}`, step, norms, clock),
      ];
    }),
  );
}

/** A name that is one folder on every system. */
const folderName = (name: string): string => name.replace(/[^\p{L}\p{N}=.,_ -]+/gu, "-").trim() || "run";

/**
 * Writes one event file a variant and seed, each in a folder of its own below `folder`, all of them or none. Returns
 * their paths. Throws the file system's error.
 */
export async function writeTensorBoard(report: GradientReuseReport, folder: string): Promise<string[]> {
  const clock: Clock = { wallTime: Date.parse(report.meta.createdAt) / 1000 };
  const files = new Map<string, Uint8Array>();
  for (const variant of report.variants) {
    const runs = variant.seeds ?? [
      { seed: report.meta.seed, curves: variant.curves, stages: variant.stages },
    ];
    for (const [i, run] of runs.entries()) {
      const events = [
        ...curveEvents(run, clock),
        ...run.stages.flatMap((stage) => stageEvents(stage, clock)),
        // Pieces are kept of the first seed.
        ...(i === 0 ? variant.stages.flatMap((stage) => pieceEvents(stage, clock)) : []),
      ];
      const path = join(folder, folderName(variant.name), `seed ${run.seed}`);
      await mkdir(path, { recursive: true });
      const content = [eventFileHeader(clock.wallTime), encodeEvents(events)];
      files.set(join(path, eventFileName(clock.wallTime)), Buffer.concat(content));
    }
  }
  await writeFilesAtomically(files);
  return [...files.keys()];
}
