/**
 * Images with channels last, for squareProduct.ts and squareWeights.ts, and back: sixteen channels of a pixel side by
 * side, row by row with their margins. A square's pixels are then whole vectors wherever it begins, so that nothing is
 * computed for the margins between rows, and what is transformed lies as the products read it.
 */
import type { FunctionBuilder, FunctionHandle, Local, ModuleBuilder } from "../../encoder/index.ts";
import { pickLanes } from "../rows.ts";
import { coefficientBytes, normRelu } from "./normRelu.ts";
import { floatBytes, RecordLayout } from "./record.ts";
import type { TileShape } from "./tile.ts";

/** Channels of a group, and bytes of a pixel of it. */
export const groupChannels = 16;
export const pixelBytes = floatBytes * groupChannels;

/** An image tensor that is taken apart into squares; strides in bytes. */
export const imageLayout = new RecordLayout([
  "image",
  "channel",
  "row",
  "channels",
  "extentV",
  "extentH",
  "beforeV",
  "beforeH",
  /** Columns with margins, and rows of them that stay in the first cache until all channels have been put there. */
  "columns",
  "rowsAtOnce",
]);

/** Four vectors' first lanes, second lanes, and so on. */
export function transpose(f: FunctionBuilder, [a, b, c, d]: readonly Local<"v128">[]): Local<"v128">[] {
  const [lowAB, lowCD] = [f.let(pickLanes(f, a, b, [0, 4, 1, 5])), f.let(pickLanes(f, c, d, [0, 4, 1, 5]))];
  const [highAB, highCD] = [f.let(pickLanes(f, a, b, [2, 6, 3, 7])), f.let(pickLanes(f, c, d, [2, 6, 3, 7]))];
  return [
    f.let(pickLanes(f, lowAB, lowCD, [0, 1, 4, 5])),
    f.let(pickLanes(f, lowAB, lowCD, [2, 3, 6, 7])),
    f.let(pickLanes(f, highAB, highCD, [0, 1, 4, 5])),
    f.let(pickLanes(f, highAB, highCD, [2, 3, 6, 7])),
  ];
}

const params = {
  /** The record of the image, and its first pixel in the first channel wanted. */
  view: "i32",
  from: "i32",
  /** How many channels there are: of those missing to a group, the last one stands in. */
  channels: "i32",
  /** The first row wanted, counted with margins, and how many. */
  firstRow: "i32",
  rows: "i32",
  to: "i32",
  /** Of the first channel, when norm and ReLU are to be applied; else 0. */
  coefficients: "i32",
} as const;
export type PutChannelsLast = FunctionHandle<typeof params, undefined>;

/** (view, from, channels, firstRow, rows, to, coefficients): images are at least 4 pixels wide. */
export function definePutChannelsLast(module: ModuleBuilder, { fused }: TileShape): PutChannelsLast {
  return module.func("putChannelsLast", { params, exported: false }, (f, p) => {
    const { i32, v128, f32x4 } = f;
    const field = (name: (typeof imageLayout.fields)[number]) =>
      f.let(imageLayout.load(f, p.view, name), name);
    const [channelStride, rowStride] = (["channel", "row"] as const).map(field);
    const [extentV, extentH] = (["extentV", "extentH"] as const).map(field);
    const [beforeV, beforeH, columns] = (["beforeV", "beforeH", "columns"] as const).map(field);
    const rowsAtOnce = field("rowsAtOnce");
    const rowBytes = f.let(i32.mul(columns, pixelBytes), "rowBytes");
    const names = ["channel", "row", "firstRow", "lastRow", "y", "rowTo", "to", "at", "last", "end"];
    const [channel, row, firstRow, lastRow, y, rowTo, to, at, last, end] = names.map((name) =>
      f.local("i32", name),
    );
    const lines = [0, 1, 2].map((i) => f.local("v128", `line${i}`));
    const froms = [0, 1, 2, 3].map((i) => f.local("i32", `from${i}`));
    const lastChannel = f.let(i32.sub(p.channels, 1), "lastChannel");
    const clearTo = (limit: Local<"i32">) =>
      f.forPointer(to, to, limit, pixelBytes, () => v128.store(to, f32x4.splat(0)));
    f.forRange(firstRow, 0, p.rows, rowsAtOnce, () => {
      lastRow.set(i32.add(firstRow, rowsAtOnce));
      lastRow.set(f.select(lastRow, p.rows, i32.lt_s(lastRow, p.rows)));
      f.forRange(channel, 0, groupChannels, 4, () => {
        const members = [0, 1, 2, 3].map((i) => {
          const member = f.let(i32.add(channel, i));
          return f.let(f.select(member, lastChannel, i32.lt_s(member, lastChannel)));
        });
        f.if(p.coefficients, () => {
          const rows = members.map((member) =>
            f.let(v128.load(i32.add(p.coefficients, i32.mul(member, coefficientBytes)))),
          );
          for (const [i, vector] of transpose(f, rows).slice(0, 3).entries()) lines[i].set(vector);
        });
        rowTo.set(i32.add(i32.add(p.to, i32.mul(firstRow, rowBytes)), i32.shl(channel, 2)));
        f.forRange(row, firstRow, lastRow, 1, () => {
          to.set(rowTo);
          y.set(i32.sub(i32.add(p.firstRow, row), beforeV));
          f.if(i32.lt_u(y, extentV), () => {
            end.set(i32.add(to, i32.mul(beforeH, pixelBytes)));
            clearTo(end);
            at.set(i32.add(p.from, i32.mul(y, rowStride)));
            for (const [i, from] of froms.entries())
              from.set(i32.add(at, i32.mul(members[i], channelStride)));
            const putFour = (normed: boolean) => {
              const read = froms.map((from) => f.let(v128.load(i32.add(from, at))));
              for (const [i, vector] of transpose(f, read).entries())
                v128.store(to, normed ? f.let(normRelu(f, fused, vector, lines)) : vector, pixelBytes * i);
            };
            const putRow = (normed: boolean) => {
              last.set(i32.shl(i32.sub(extentH, 4), 2));
              f.forRange(at, 0, last, 16, () => {
                putFour(normed);
                to.set(i32.add(to, 4 * pixelBytes));
              });
              // The last four overlap those before instead of being fewer.
              to.set(i32.add(end, i32.mul(last, groupChannels)));
              at.set(last);
              putFour(normed);
              to.set(i32.add(to, 4 * pixelBytes));
            };
            f.if(
              p.coefficients,
              () => putRow(true),
              () => putRow(false),
            );
          });
          rowTo.set(i32.add(rowTo, rowBytes));
          clearTo(rowTo);
        });
      });
    });
  });
}

const backParams = {
  /** The record of the image that is written, and its first pixel in the first channel of the group. */
  view: "i32",
  to: "i32",
  /** How many channels there are from that one on. */
  channels: "i32",
  firstRow: "i32",
  rows: "i32",
  from: "i32",
} as const;
export type PutChannelsFirst = FunctionHandle<typeof backParams, undefined>;

/** (view, to, channels, firstRow, rows, from): the other way round, for rows and columns inside of the image. */
export function definePutChannelsFirst(module: ModuleBuilder): PutChannelsFirst {
  return module.func("putChannelsFirst", { params: backParams, exported: false }, (f, p) => {
    const { i32, v128 } = f;
    const field = (name: (typeof imageLayout.fields)[number]) =>
      f.let(imageLayout.load(f, p.view, name), name);
    const [channelStride, rowStride] = (["channel", "row"] as const).map(field);
    const [extentV, extentH] = (["extentV", "extentH"] as const).map(field);
    const rowBytes = f.let(i32.mul(field("columns"), pixelBytes), "rowBytes");
    const names = ["channel", "row", "from", "at", "last", "line"];
    const [channel, row, from, at, last, line] = names.map((name) => f.local("i32", name));
    const tos = [0, 1, 2, 3].map((i) => f.local("i32", `to${i}`));
    const smaller = (a: Local<"i32">, b: Local<"i32">) => f.select(a, b, i32.lt_s(a, b));
    const left = f.let(i32.sub(extentV, p.firstRow));
    const rows = f.let(smaller(left, p.rows), "rows");
    const group = f.let(i32.const(groupChannels));
    const channels = f.let(smaller(p.channels, group), "channels");
    const lastChannel = f.let(i32.sub(channels, 1), "lastChannel");
    last.set(i32.shl(i32.sub(extentH, 4), 2));
    const putFour = () => {
      const pixels = [0, 1, 2, 3].map((i) => f.let(v128.load(from, pixelBytes * i)));
      // Of channels missing to the group the last one stands in, so it is written after them.
      for (const [i, vector] of [...transpose(f, pixels).entries()].reverse())
        v128.store(i32.add(tos[i], at), vector);
    };
    line.set(i32.add(p.to, i32.mul(p.firstRow, rowStride)));
    f.forRange(row, 0, rows, 1, () => {
      f.forRange(channel, 0, channels, 4, () => {
        for (const [i, to] of tos.entries()) {
          const member = f.let(i32.add(channel, i));
          const known = f.let(smaller(member, lastChannel));
          to.set(i32.add(line, i32.mul(known, channelStride)));
        }
        from.set(i32.add(p.from, i32.shl(channel, 2)));
        f.forRange(at, 0, last, 16, () => {
          putFour();
          from.set(i32.add(from, 4 * pixelBytes));
        });
        // The last four overlap those before instead of being fewer.
        from.set(i32.add(i32.add(p.from, i32.shl(channel, 2)), i32.mul(last, pixelBytes / floatBytes)));
        at.set(last);
        putFour();
      });
      p.from.set(i32.add(p.from, rowBytes));
      line.set(i32.add(line, rowStride));
    });
  });
}
