/**
 * The gradient of a convolution in its weight: every weight is the dot product of an output channel's gradient with
 * a shifted input channel, over all images and rows. A thread keeps the sums of a tile, so many output by so many
 * input channels with all taps of one row of the window, for a share of the rows. A sum is one number, to which four products are added at a time: as
 * a vector it takes four registers and four times the additions in memory where registers run out (1.5 to 2 times the
 * time on a software adapter).
 */
import type { GpuRuntime, GpuView } from "../../runtime.ts";
import type { Extents, Images } from "./geometry.ts";
import { launchShares } from "./shares.ts";
import type { GradientTile } from "./tiles.ts";

const lanes = ["x", "y", "z", "w"];

function shader(
  { S, stride, dilation }: Extents,
  { outputs, inputs }: GradientTile,
): { readonly body: string } {
  const ks = Array.from({ length: outputs }, (_, k) => k);
  const cs = Array.from({ length: inputs }, (_, c) => c);
  const taps = Array.from({ length: S }, (_, s) => s);
  const loads = Math.ceil((3 * stride[1] + (S - 1) * dilation[1] + 1) / 4);
  const stretch = (c: number, s: number): string => {
    const at = [0, 1, 2, 3].map((lane) => lane * stride[1] + s * dilation[1]);
    const isWhole = at[0] % 4 === 0 && at[3] === at[0] + 3;
    const element = (i: number): string => `x${c}_${i >> 2}.${lanes[i & 3]}`;
    return isWhole ? `x${c}_${at[0] / 4}` : `vec4<f32>(${at.map(element).join(", ")})`;
  };
  const each = (visit: (k: number, c: number, s: number) => string): string =>
    ks.flatMap((k) => cs.flatMap((c) => taps.map((s) => visit(k, c, s)))).join("\n");
  return {
    body: `
  let c = (id % p.c_tiles) * ${inputs};
  var rest = id / p.c_tiles;
  let r = rest % p.R;
  rest = rest / p.R;
  let k = (rest % p.k_tiles) * ${outputs};
  rest = rest / p.k_tiles;
  let g = rest % p.groups;
  let chunk = rest / p.groups;
  // Channels beyond the last are computed from the last, and not stored.
${ks.map((j) => `  let gradient${j} = p.gradient_offset + (g * p.K + min(k + ${j}, p.K - 1)) * p.gradient_channel;`).join("\n")}
${cs.map((j) => `  let input${j} = p.x_offset + (g * p.C + min(c + ${j}, p.C - 1)) * p.x_channel + r * ${dilation[0]} * p.x_row;`).join("\n")}
${each((i, j, s) => `  var a${i}_${j}_${s} = 0.0;`)}
  // Numbers of the loops are read once: not every compiler takes loads of uniform memory out of a loop.
  let last = min((chunk + 1) * p.rows, p.N * p.P);
  let columns = p.Q;
  let height = p.P;
  let gradient_row = p.gradient_row;
  let x_row = ${stride[0]} * p.x_row;
  var n = (chunk * p.rows) / height;
  var h = (chunk * p.rows) % height;
  var gradient_at = n * p.gradient_image + h * gradient_row;
  var x_at = n * p.x_image + h * x_row;
  for (var row = chunk * p.rows; row < last; row++) {
    for (var q = 0; q < columns; q += 4) {
${ks.map((j) => `      let d${j} = gradient_get4(gradient${j} + gradient_at + q);`).join("\n")}
${cs.map((j) => `      ${Array.from({ length: loads }, (_, i) => `let x${j}_${i} = x_get4(input${j} + x_at + q * ${stride[1]} + ${4 * i});`).join(" ")}`).join("\n")}
${cs.flatMap((j) => taps.map((s) => `      { let t = ${stretch(j, s)}; ${ks.map((i) => `a${i}_${j}_${s} += dot(d${i}, t);`).join(" ")} }`)).join("\n")}
    }
    gradient_at += gradient_row;
    x_at += x_row;
    h++;
    if (h == height) {
      h = 0;
      n++;
      gradient_at = n * p.gradient_image;
      x_at = n * p.x_image;
    }
  }
  let y_at = p.y_offset + chunk * p.groups * p.K * p.C * p.R * ${S};
${each(
  (i, j, s) =>
    `  if (k + ${i} < p.K && c + ${j} < p.C) { y_set(y_at + (((g * p.K + k + ${i}) * p.C + c + ${j}) * p.R + r) * ${S} + ${s}, ` +
    `a${i}_${j}_${s}); }`,
)}`,
  };
}

/**
 * y[k, c, r, s] = Σ gradient · x, for prepared images whose rows hold whole vectors: zeros follow the gradient's last
 * column where Q is no multiple of four.
 */
export function launchWeightGradient(
  runtime: GpuRuntime,
  extents: Extents,
  x: Images,
  gradient: Images,
  y: GpuView,
  tile: GradientTile,
): void {
  const { N, groups, C, K, R, S, P, Q, stride, dilation } = extents;
  const kTiles = Math.ceil(K / tile.outputs);
  const cTiles = Math.ceil(C / tile.inputs);
  const tiles = groups * kTiles * R * cTiles;
  launchShares(runtime, extents, N * P, tiles, y, ({ memory, offset, chunks, pieces }) =>
    runtime.launch({
      label: "conv2dWeightGradient",
      variant: [S, ...stride, ...dilation, tile.outputs, tile.inputs].join(),
      operands: [
        { name: "x", buffer: x.view, access: "read", vector: true },
        { name: "gradient", buffer: gradient.view, access: "read", vector: true },
        { name: "y", buffer: memory, access: "write" },
      ],
      numbers: {
        x_offset: x.offset,
        x_image: x.image,
        x_channel: x.channel,
        x_row: x.row,
        gradient_offset: gradient.offset,
        gradient_image: gradient.image,
        gradient_channel: gradient.channel,
        gradient_row: gradient.row,
        N,
        groups,
        C,
        K,
        R,
        P,
        Q,
        rows: pieces,
        k_tiles: kTiles,
        c_tiles: cTiles,
        y_offset: offset,
      },
      threads: chunks * tiles,
      shader: () => shader(extents, tile),
    }),
  );
}
