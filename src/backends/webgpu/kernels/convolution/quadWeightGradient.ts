/**
 * The gradient of a convolution in its weight, for adapters that have quads of threads (see quadProduct.ts). The
 * four threads share a tile of output by input channels and the rows that they sum over: each loads one in four of the
 * output channels' gradients and one in four of the input channels, the quad functions hand the inputs round, and so
 * every pair of channels meets in one of the threads. Nothing is copied into place before: what lies beside an image is
 * masked out, and norm and ReLU, whose coefficients a thread keeps for its channels, are applied to what it loads.
 */
import { float } from "../../parameters.ts";
import type { GpuRuntime, GpuView } from "../../runtime.ts";
import type { Extents } from "./geometry.ts";
import type { Normalization } from "./prepare.ts";
import { mayLieOutside, type Overhang, overhangOf, range, vectorsOf } from "./quadProduct.ts";
import { launchShares } from "./shares.ts";

/** What a quad sums: vectors of four output and of four input channels, with all taps of one row of the window. */
interface QuadGradientTile {
  readonly outputs: number;
  readonly inputs: number;
  /** Neighbours in a row of the output that a round of the loop covers. */
  readonly pixels: number;
}

interface Shape {
  readonly extents: Extents;
  readonly tile: QuadGradientTile;
  readonly columns: Overhang;
  /** Pieces of a row: as many neighbours as the tile has. */
  readonly rowPieces: number;
  readonly rowsMayLieOutside: boolean;
  readonly wholeRows: boolean;
  /** Every share sums as many pieces. */
  readonly wholeShares: boolean;
  /** Norm and ReLU are applied to the inputs. */
  readonly isNormed: boolean;
}

function shader({
  extents: { S, stride, dilation },
  tile,
  columns,
  rowPieces,
  rowsMayLieOutside,
  wholeRows,
  wholeShares,
  isNormed,
}: Shape): {
  readonly declarations: string;
  readonly body: string;
} {
  const [ks, cs, vs, ss] = [tile.outputs, tile.inputs, tile.pixels, S].map(range);
  const turns = range(4);
  const at = (v: number, s: number): number => v * stride[1] + s * dilation[1];
  const used = [...new Set(vs.flatMap((v) => ss.map((s) => at(v, s))))].sort((a, b) => a - b);
  const masked = (value: string, masks: readonly string[]): string =>
    masks.length === 0 ? value : `bitcast<f32>(bitcast<u32>(${value}) & ${masks.join(" & ")})`;
  const input = (i: number, j: number): string => {
    const value = `x_get(x_channel${i} + x_at${j})`;
    return isNormed ? `rectified((${value} - mean${i}) * scale${i} + shift${i})` : value;
  };
  const counts = [
    ...(wholeShares ? [] : ["first + i < p.all_pieces"]),
    ...(rowsMayLieOutside ? ["in_row >= 0 && in_row < p.H"] : []),
  ];
  const row = counts.length > 0 ? "counts" : "0xffffffffu";
  // The swaps that lead from one turn's channels to the next one's: t, t ^ 1, t ^ 3, t ^ 2.
  const swaps = ["", "quadSwapX", "quadSwapY", "quadSwapX"];
  const sums = (visit: (k: number, c: number, turn: number, s: number) => string): string =>
    ks
      .flatMap((k) => cs.flatMap((c) => turns.map((turn) => ss.map((s) => visit(k, c, turn, s)).join(" "))))
      .join("\n");
  return {
    // A NaN is not less than 0, and stays.
    declarations: isNormed ? "fn rectified(x: f32) -> f32 { return select(x, 0.0, x < 0.0); }" : "",
    body: `
  let quad = lane & 3;
  // Threads beyond the last tile go along with it, since the quad functions want all four; they store nothing.
  let place = min(id >> 2, p.tasks - 1);
  let stores = (id >> 2) < p.tasks;
  let c = (place % p.c_tiles) * ${4 * tile.inputs};
  var rest = place / p.c_tiles;
  let r = rest % p.R;
  rest = rest / p.R;
  let k = (rest % p.k_tiles) * ${4 * tile.outputs};
  rest = rest / p.k_tiles;
  let g = rest % p.groups;
  let chunk = rest / p.groups;
  // Channels beyond the last are computed from the last, and not stored.
${ks.map((i) => `  let d_channel${i} = p.d_o + (g * p.K + min(k + ${4 * i} + quad, p.K - 1)) * p.d_1;`).join("\n")}
${cs.map((i) => `  let x_channel${i} = p.x_o + (g * p.C + min(c + ${4 * i} + quad, p.C - 1)) * p.x_1;`).join("\n")}
${isNormed ? cs.map(coefficients).join("\n") : ""}
${sums((i, j, turn, s) => `  var a${i}_${j}_${turn}_${s} = 0.0;`)}
  // Numbers of the loop are read once: not every compiler takes loads of uniform memory out of a loop.
  let pieces = p.pieces;
  let columns = p.Q;
  let height = p.P;
  let width = p.W;
  let left = p.left;
  let x_column = p.x_3;
  let d_column = p.d_3;
  let last_image = p.N - 1;
  let first = chunk * pieces;
  let first_row = first / p.row_pieces;
  ${rowPieces === 1 ? "let q = 0;" : `var q = (first % p.row_pieces) * ${tile.pixels};`}
  var h = first_row % height;
  var n = min(first_row / height, last_image);
  for (var i = 0; i < pieces; i++) {
    let in_row = h * ${stride[0]} + r * ${dilation[0]} - p.top;
    ${counts.length > 0 ? `let counts = select(0u, 0xffffffffu, ${counts.join(" && ")});` : ""}
    let d_row = n * p.d_0 + h * p.d_2;
    let x_row = n * p.x_0 + ${rowsMayLieOutside ? "clamp(in_row, 0, p.H - 1)" : "in_row"} * p.x_2;
${vs.map((v) => (wholeRows || v === 0 ? `      let d_at${v} = d_row + (q + ${v}) * d_column;` : `      let d_at${v} = d_row + min(q + ${v}, columns - 1) * d_column; let d_counts${v} = select(0u, ${row}, q + ${v} < columns);`)).join("\n")}
${used
  .map((j) => {
    const column = `q * ${stride[1]} + ${j} - left`;
    return mayLieOutside(columns, j)
      ? `      let x_at${j} = x_row + clamp(${column}, 0, width - 1) * x_column; let inside${j} = select(0u, 0xffffffffu, ${column} >= 0 && ${column} < width);`
      : `      let x_at${j} = x_row + (${column}) * x_column;`;
  })
  .join("\n")}
${ks.map((i) => vs.map((v) => `      let d${i}_${v} = ${masked(`d_get(d_channel${i} + d_at${v})`, !wholeRows && v > 0 ? [`d_counts${v}`] : counts.length > 0 ? ["counts"] : [])};`).join("\n")).join("\n")}
${cs
  .map(
    (i) => `      {
${used.map((j) => `        var x${j} = ${masked(input(i, j), mayLieOutside(columns, j) ? [`inside${j}`] : [])};`).join("\n")}
${turns
  .map(
    (turn) =>
      (turn === 0 ? "" : `${used.map((j) => `        x${j} = ${swaps[turn]}(x${j});`).join(" ")}\n`) +
      ks
        .map((k) =>
          ss
            .map(
              (s) =>
                `        a${k}_${i}_${turn}_${s} += ${vs.map((v) => `d${k}_${v} * x${at(v, s)}`).join(" + ")};`,
            )
            .join("\n"),
        )
        .join("\n"),
  )
  .join("\n")}
      }`,
  )
  .join("\n")}
    ${
      rowPieces === 1
        ? "h++;"
        : `q += ${tile.pixels};
    let row_ends = q >= columns;
    q = select(q, 0, row_ends);
    h = select(h, h + 1, row_ends);`
    }
    let image_ends = h == height;
    h = select(h, 0, image_ends);
    n = min(select(n, n + 1, image_ends), last_image);
  }
  if (!stores) { return; }
  let y_at = p.y_offset + chunk * p.groups * p.K * p.C * p.R * ${S};
${ks
  .map(
    (i) => `  if (k + ${4 * i} + quad < p.K) {
  let y_channel${i} = y_at + ((g * p.K + k + ${4 * i} + quad) * p.C) * p.R * ${S} + r * ${S};
${cs
  .flatMap((j) =>
    turns.map(
      (turn) => `    {
      let channel = c + ${4 * j} + (quad ^ ${turn ^ (turn >> 1)});
      if (channel < p.C) {
        let at = y_channel${i} + channel * p.R * ${S};
        ${ss.map((s) => `y_set(at + ${s}, a${i}_${j}_${turn}_${s});`).join(" ")}
      }
    }`,
    ),
  )
  .join("\n")}
  }`,
  )
  .join("\n")}`,
  };
}

/** WGSL: what norm and ReLU do to a thread's input channel of a vector, the same for all that it loads. */
const coefficients = (i: number): string => `
  let channel${i} = g * p.C + min(c + ${4 * i} + quad, p.C - 1);
  let mean${i} = statistics_get(p.statistics_o + channel${i} * p.statistics_1);
  let variance${i} = statistics_get(p.statistics_o + p.statistics_0 + channel${i} * p.statistics_1);
  let scale${i} = weight_get(p.weight_o + channel${i} * p.weight_0) / sqrt(variance${i} + p.epsilon);
  let shift${i} = bias_get(p.bias_o + channel${i} * p.bias_0);`;

/** Of a row, so many neighbours at a time: a divisor where there is one, else the least waste. */
function pixelsOf(Q: number): number {
  return [8, 7, 6, 5, 4].find((count) => Q % count === 0) ?? Math.ceil(Q / Math.ceil(Q / 8));
}

/** Whether the kernel pays: of four channels at a time, at most one is computed in vain. */
export function gradientSuitsQuads(runtime: GpuRuntime, { K, C }: Extents): boolean {
  return runtime.traits.quads && K >= 3 && C >= 3;
}

/**
 * y[k, c, r, s] = Σ gradient · x, for x as it is or with norm and ReLU applied to it. `x` is `[N, groups · C, H, W]`
 * without margins, `gradient` `[N, groups · K, P, Q]`.
 */
export function launchQuadWeightGradient(
  runtime: GpuRuntime,
  extents: Extents,
  x: GpuView,
  gradient: GpuView,
  y: GpuView,
  normalization: Normalization | null,
): void {
  const { N, groups, C, K, R, S, P, Q, stride, dilation, padding } = extents;
  const [, , H, W] = x.shape;
  const [top, , left] = padding;
  // With taps every load of an input meets three times as many gradients.
  const tile: QuadGradientTile = {
    outputs: vectorsOf(K, 4),
    inputs: vectorsOf(C, S === 1 ? 4 : 2),
    pixels: pixelsOf(Q),
  };
  const span = (tile.pixels - 1) * stride[1] + (S - 1) * dilation[1] + 1;
  const rowPieces = Math.ceil(Q / tile.pixels);
  const columns = overhangOf(span, rowPieces, tile.pixels * stride[1], left, W);
  const rowsMayLieOutside = top > 0 || (P - 1) * stride[0] + (R - 1) * dilation[0] - top >= H;
  const kTiles = Math.ceil(K / (4 * tile.outputs));
  const cTiles = Math.ceil(C / (4 * tile.inputs));
  const tiles = groups * kTiles * R * cTiles;
  const allPieces = N * P * rowPieces;
  launchShares(runtime, extents, allPieces, 4 * tiles, y, ({ memory, offset, chunks, pieces }) => {
    const isNormed = normalization !== null;
    const wholeRows = Q % tile.pixels === 0;
    const wholeShares = chunks * pieces === allPieces;
    const shape: Shape = {
      extents,
      tile,
      columns,
      rowPieces,
      rowsMayLieOutside,
      wholeRows,
      wholeShares,
      isNormed,
    };
    runtime.launch({
      label: "conv2dWeightGradient",
      variant: `quads/${S},${stride},${dilation},${tile.outputs},${tile.inputs},${tile.pixels},${columns.before},${columns.from},${rowPieces === 1},${rowsMayLieOutside},${wholeRows},${wholeShares},${isNormed}`,
      operands: [
        { name: "x", buffer: x.buffer, access: "read" },
        { name: "d", buffer: gradient.buffer, access: "read" },
        { name: "y", buffer: memory, access: "write" },
        ...(normalization
          ? ([
              { name: "weight", buffer: normalization.weight.buffer, access: "read" },
              { name: "bias", buffer: normalization.bias.buffer, access: "read" },
              { name: "statistics", buffer: normalization.statistics.buffer, access: "read" },
            ] as const)
          : []),
      ],
      numbers: {
        x_o: x.offset,
        x_0: x.strides[0],
        x_1: x.strides[1],
        x_2: x.strides[2],
        x_3: x.strides[3],
        d_o: gradient.offset,
        d_0: gradient.strides[0],
        d_1: gradient.strides[1],
        d_2: gradient.strides[2],
        d_3: gradient.strides[3],
        N,
        groups,
        C,
        H,
        W,
        K,
        R,
        P,
        Q,
        top,
        left,
        pieces,
        row_pieces: rowPieces,
        all_pieces: allPieces,
        k_tiles: kTiles,
        c_tiles: cTiles,
        tasks: chunks * tiles,
        y_offset: offset,
        weight_o: normalization?.weight.offset ?? 0,
        weight_0: normalization?.weight.strides[0] ?? 0,
        bias_o: normalization?.bias.offset ?? 0,
        bias_0: normalization?.bias.strides[0] ?? 0,
        statistics_o: normalization?.statistics.offset ?? 0,
        statistics_0: normalization?.statistics.strides[0] ?? 0,
        statistics_1: normalization?.statistics.strides[1] ?? 0,
        epsilon: float(normalization?.epsilon ?? 0),
      },
      groups: Math.ceil((4 * chunks * tiles) / 16),
      workgroupSize: 16,
      quads: true,
      shader: () => shader(shape),
    });
  });
}
