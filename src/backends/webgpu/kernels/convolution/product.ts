/**
 * The product that a convolution is: every thread keeps a tile of outputs, so many channels by so many neighbours in a
 * row, in registers, and for each input channel and row of the window loads the stretch of the row that its outputs
 * see and the weights of its channels. There is no workgroup memory: neighbouring threads read neighbouring memory,
 * and caches do the rest, which also is the only form that a software adapter runs at speed (a barrier is a switch of
 * coroutines there).
 */
import { type GpuRuntime, type GpuView, layoutNumbers } from "../../runtime.ts";
import { expressionFunctions } from "../../wgsl.ts";
import type { Extents, Images } from "./geometry.ts";
import type { Weights } from "./packWeights.ts";
import type { ProductTile } from "./tiles.ts";

/** What happens to a sum before it is stored. */
export interface Epilogue {
  /** `[K]`, added to every output of channel k. */
  readonly bias?: GpuView;
  readonly relu?: boolean;
}

/** What a tile meets at the ends of rows and images. */
interface Edges {
  /** Four outputs are stored at a time. */
  readonly vectorStores: boolean;
  /** No tile reaches beyond a row of outputs. */
  readonly wholeBlocks: boolean;
  /** Loads must stop at the end of the images. */
  readonly clamped: boolean;
}

const lanes = ["x", "y", "z", "w"];

/** Channels as vectors of at most four: how a tile's weights are loaded. */
function weightLoads(channels: number, at: string): { readonly text: string; weight(k: number): string } {
  if (channels < 4)
    return {
      text: Array.from({ length: channels }, (_, k) => `let w${k} = weights_get(${at} + ${k});`).join(" "),
      weight: (k) => `w${k}`,
    };
  return {
    text: Array.from({ length: channels / 4 }, (_, v) => `let w${v} = weights_get4(${at} + ${4 * v});`).join(
      " ",
    ),
    weight: (k) => `w${Math.floor(k / 4)}.${lanes[k % 4]}`,
  };
}

function shader(
  { R, S, stride, dilation }: Extents,
  { channels, vectors }: ProductTile,
  { bias, relu = false }: Epilogue,
  { vectorStores, wholeBlocks, clamped }: Edges,
  byOutput: boolean,
): { readonly declarations: string; readonly body: string } {
  const ks = Array.from({ length: channels }, (_, k) => k);
  const vs = Array.from({ length: vectors }, (_, v) => v);
  const span = (4 * vectors - 1) * stride[1] + (S - 1) * dilation[1] + 1;
  const loads = Math.ceil(span / 4);
  const element = (i: number): string => `x${i >> 2}.${lanes[i & 3]}`;
  /** Four inputs that vector `v` of the tile meets at tap `s`. */
  const stretch = (v: number, s: number): string => {
    const at = [0, 1, 2, 3].map((lane) => (4 * v + lane) * stride[1] + s * dilation[1]);
    const isWhole = at[0] % 4 === 0 && at[3] === at[0] + 3;
    return isWhole ? `x${at[0] / 4}` : `vec4<f32>(${at.map(element).join(", ")})`;
  };
  const taps = Array.from({ length: S }, (_, s) => {
    const { text, weight } = weightLoads(channels, `weight_at + ${s} * weight_column`);
    return `      {
        ${text}
        ${vs.map((v) => `let i${v} = ${stretch(v, s)};`).join(" ")}
        ${ks.map((k) => vs.map((v) => `a${k}_${v} = a${k}_${v} + i${v} * ${weight(k)};`).join(" ")).join("\n        ")}
      }`;
  });
  const load = (at: string): string =>
    Array.from(
      { length: loads },
      (_, i) => `let x${i} = x_get4(${clamped ? `min(${at} + ${4 * i}, last)` : `${at} + ${4 * i}`});`,
    ).join(" ");
  const packedLoop = `
  var x_channel_at = x_start;
  var weight_at = p.weight_offset + g * p.C * p.weight_input + k;
  for (var c = 0; c < channels; c++) {
    var x_at = x_channel_at;
    x_channel_at += x_channel;
    ${R === 1 ? "{" : "for (var r = 0; r < rows; r++) {"}
      ${load("x_at")}
${taps.join("\n")}
      ${R === 1 ? "" : "x_at += x_row;"}
      weight_at += ${S} * weight_column;
    }
  }`;
  // Channels beyond the last are computed from the last, and not stored.
  const byOutputLoop = `
  var x_at = x_start;
  ${ks.map((k) => `let weight${k} = p.weight_offset + (g * p.K + min(k + ${k}, p.K - 1)) * channels;`).join("\n  ")}
  for (var c = 0; c < channels; c += 4) {
    ${ks.map((k) => `let w${k} = weights_get4(weight${k} + c);`).join(" ")}
${lanes
  .map(
    (lane) => `    {
      ${load("x_at")}
      ${vs.map((v) => `let i${v} = ${stretch(v, 0)};`).join(" ")}
      ${ks.map((k) => vs.map((v) => `a${k}_${v} = a${k}_${v} + i${v} * w${k}.${lane};`).join(" ")).join("\n      ")}
      x_at += x_channel;
    }`,
  )
  .join("\n")}
  }`;
  const finished = (k: number, v: number): string => {
    const sum = bias ? `a${k}_${v} + bias_get(p.bias_o + (g * p.K + k + ${k}) * p.bias_0)` : `a${k}_${v}`;
    return relu ? `rectified(${sum})` : sum;
  };
  const store = (k: number): string => {
    const at = `y_at + (k + ${k}) * p.y_1`;
    return vs
      .map((v) => {
        const value = `let v${v} = ${finished(k, v)};`;
        if (vectorStores) {
          const stored = `${value} y_set4(${at} + q + ${4 * v}, v${v});`;
          return wholeBlocks ? stored : `if (q + ${4 * v} < p.Q) { ${stored} }`;
        }
        return `${value} ${lanes
          .map(
            (lane, i) =>
              `if (q + ${4 * v + i} < p.Q) { y_set(${at} + (q + ${4 * v + i}) * p.y_3, v${v}.${lane}); }`,
          )
          .join(" ")}`;
      })
      .join("\n    ");
  };
  return {
    declarations: relu
      ? `${expressionFunctions}
fn rectified(x: vec4<f32>) -> vec4<f32> {
  return vec4<f32>(f_max(x.x, 0.0), f_max(x.y, 0.0), f_max(x.z, 0.0), f_max(x.w, 0.0));
}`
      : "",
    body: `
  let q = (id % p.blocks) * ${4 * vectors};
  var rest = id / p.blocks;
  let row = rest % p.P;
  rest = rest / p.P;
  let n = rest % p.N;
  rest = rest / p.N;
  let k = (rest % p.k_tiles) * ${channels};
  let g = rest / p.k_tiles;
${ks.map((k) => `  ${vs.map((v) => `var a${k}_${v} = vec4<f32>(0.0);`).join(" ")}`).join("\n")}
  let x_start = p.x_offset + n * p.x_image + g * p.C * p.x_channel + row * ${stride[0]} * p.x_row + q * ${stride[1]};
  // Numbers of the loop are read once: not every compiler takes loads of uniform memory out of a loop.
  let channels = p.C;
  let x_channel = p.x_channel;
  ${R === 1 ? "" : `let rows = p.R;\n  let x_row = ${dilation[0]} * p.x_row;`}
  ${byOutput ? "" : "let weight_column = p.weight_column;"}
  ${clamped ? "let last = p.x_last;" : ""}
${byOutput ? byOutputLoop : packedLoop}
  let y_at = p.y_o + n * p.y_0 + g * p.K * p.y_1 + row * p.y_2;
${ks.map((k) => `  if (k + ${k} < p.K) {\n    ${store(k)}\n  }`).join("\n")}`,
  };
}

/** y = Σ x · w (+ bias, then ReLU), for prepared images and packed weights. `y` is `[N, groups · K, P, Q]`. */
export function launchProduct(
  runtime: GpuRuntime,
  label: string,
  extents: Extents,
  x: Images,
  weights: Weights,
  y: GpuView,
  tile: ProductTile,
  epilogue: Epilogue = {},
): void {
  const { N, groups, C, K, R, S, P, Q, stride, dilation } = extents;
  const { bias, relu } = epilogue;
  const width = 4 * tile.vectors;
  const blocks = Math.ceil(Q / width);
  const kTiles = Math.ceil(K / tile.channels);
  const wholeBlocks = Q % width === 0;
  const isAligned = Q % 4 === 0 && y.strides[3] === 1 && y.offset % 4 === 0;
  const vectorStores = isAligned && y.strides.slice(0, 3).every((step) => step % 4 === 0);
  const edges: Edges = { vectorStores, wholeBlocks, clamped: x.last !== null && !wholeBlocks };
  runtime.launch({
    label,
    variant: [
      R === 1,
      S,
      ...stride,
      ...dilation,
      tile.channels,
      tile.vectors,
      !!bias,
      !!relu,
      weights.byOutput,
      ...Object.values(edges),
    ].join(),
    operands: [
      { name: "x", buffer: x.view, access: "read", vector: true },
      {
        name: "weights",
        buffer: weights.memory,
        access: "read",
        vector: weights.byOutput || tile.channels >= 4,
      },
      { name: "y", buffer: y.buffer, access: "write", vector: vectorStores },
      ...(bias ? [{ name: "bias", buffer: bias.buffer, access: "read" } as const] : []),
    ],
    numbers: {
      ...layoutNumbers("y", y),
      ...(bias ? layoutNumbers("bias", bias) : {}),
      x_offset: x.offset,
      x_image: x.image,
      x_channel: x.channel,
      x_row: x.row,
      x_last: x.last ?? 0,
      N,
      C,
      K,
      R,
      P,
      Q,
      blocks,
      k_tiles: kTiles,
      weight_offset: weights.offset,
      weight_input: R * S * weights.channels,
      weight_column: weights.channels,
    },
    threads: groups * kTiles * N * P * blocks,
    shader: () => shader(extents, tile, epilogue, edges, weights.byOutput),
  });
}
