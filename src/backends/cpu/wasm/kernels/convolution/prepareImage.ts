/** Copies an item's image with its margin into scratch memory, the right operand of a product. */
import type { FunctionHandle, Local, ModuleBuilder } from "../../encoder/index.ts";
import type { TouchRows } from "../touch.ts";
import { type CopyNormed, coefficientBytes, type NormRelu } from "./normRelu.ts";
import { planLayout } from "./plan.ts";
import { type ClearRow, defineClearRow, defineSplitPlanes } from "./splitRows.ts";
import type { TileShape } from "./tile.ts";

const rowParams = { from: "i32", to: "i32", count: "i32", step: "i32" } as const;
export type CopyRow = FunctionHandle<typeof rowParams, undefined>;

/** (from, to, count, step): `count` floats that lie `step` bytes apart, side by side. */
export function defineCopyRow(module: ModuleBuilder): CopyRow {
  return module.func("copyRow", { params: rowParams, exported: false }, (f, { from, to, count, step }) => {
    const { i32, f32, v128, i8x16 } = f;
    const at = f.local("i32", "at");
    f.if(i32.ge_s(count, 4), () => {
      const last = f.let(i32.sub(i32.shl(count, 2), 16), "last");
      f.if(i32.eq(step, 4), () => {
        f.forRange(at, 0, last, 16, () => v128.store(i32.add(to, at), v128.load(i32.add(from, at))));
        v128.store(i32.add(to, last), v128.load(i32.add(from, last)));
        f.return();
      });
      f.if(i32.eq(step, 8), () => {
        const copyFour = () => {
          const source = f.let(i32.add(from, i32.shl(at, 1)));
          const even = [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27];
          v128.store(i32.add(to, at), i8x16.shuffle(v128.load(source), v128.load(source, 16), even));
        };
        f.forRange(at, 0, last, 16, copyFour);
        at.set(last);
        copyFour();
        f.return();
      });
    });
    const end = f.let(i32.add(to, i32.shl(count, 2)), "end");
    f.forPointer(to, to, end, 4, () => {
      f32.store(to, f32.load(from));
      from.set(i32.add(from, step));
    });
  });
}

const prepareParams = {
  plan: "i32",
  /** The first channel of the first image. */
  from: "i32",
  to: "i32",
  images: "i32",
  channels: "i32",
  /** The first row of outputs. */
  firstRow: "i32",
  /** Of the first channel, when norm and ReLU are to be applied; else 0. */
  coefficients: "i32",
} as const;
export type PrepareImage = FunctionHandle<typeof prepareParams, undefined>;

const planeParams = {
  source: "i32",
  to: "i32",
  /** The row of the image that the first row is, which may lie outside, from one to the next, and how many there are. */
  y: "i32",
  stepY: "i32",
  extentV: "i32",
  rows: "i32",
  sourceRow: "i32",
  rowBytes: "i32",
  lead: "i32",
  count: "i32",
} as const;

/**
 * (source, to, y, stepY, extentV, rows, sourceRow, rowBytes, lead, count): rows of `count` floats, four at least, after
 * `lead` zeros, with zeros after them. Margins are not wider than the vector of zeros that is written for each, whose
 * rest is written over later.
 */
function defineCopyPlane(
  module: ModuleBuilder,
  clear: ClearRow,
): FunctionHandle<typeof planeParams, undefined> {
  return module.func("copyPlane", { params: planeParams, exported: false }, (f, p) => {
    const { i32, v128, f32x4 } = f;
    const [row, from, to, at] = ["row", "from", "to", "at"].map((name) => f.local("i32", name));
    const last = f.let(i32.sub(i32.shl(p.count, 2), 16), "last");
    const rowLength = f.let(i32.shr_u(p.rowBytes, 2), "rowLength");
    f.forRange(row, 0, p.rows, 1, () => {
      f.if(
        i32.lt_u(p.y, p.extentV),
        () => {
          from.set(i32.add(p.source, i32.mul(p.y, p.sourceRow)));
          v128.store(p.to, f32x4.splat(0));
          to.set(i32.add(p.to, i32.shl(p.lead, 2)));
          f.forRange(at, 0, last, 16, () => v128.store(i32.add(to, at), v128.load(i32.add(from, at))));
          to.set(i32.add(to, last));
          v128.store(to, v128.load(i32.add(from, last)));
          v128.store(to, f32x4.splat(0), 16);
        },
        () => f.call(clear, { to: p.to, count: rowLength }),
      );
      p.to.set(i32.add(p.to, p.rowBytes));
      p.y.set(i32.add(p.y, p.stepY));
    });
  });
}

/**
 * Copies images with their margins, phase by phase of the stride. The margin is that of the normed image: zero. The
 * margin after a row is also that before the next one, which writes it again, and so with planes and images.
 */
export function definePrepare(
  module: ModuleBuilder,
  shape: TileShape,
  copyRow: CopyRow,
  normRelu: NormRelu,
  copyNormed: CopyNormed,
  touch: TouchRows,
): PrepareImage {
  const clear = defineClearRow(module);
  const copyPlane = defineCopyPlane(module, clear);
  const [splitPlanes, splitNormedPlanes] = [false, true].map((normed) =>
    defineSplitPlanes(module, shape, clear, normed),
  );
  return module.func(
    "prepareImage",
    { params: prepareParams, exported: false },
    (f, { plan, from, to, images, channels, firstRow, coefficients }) => {
      const { i32, v128 } = f;
      const field = (name: (typeof planLayout.fields)[number]) => f.let(planLayout.load(f, plan, name), name);
      const [strideV, strideH, beforeV, extentV] = (
        ["strideV", "strideH", "beforeV", "extentV"] as const
      ).map(field);
      const [rowBytes, planeRows, sourceRow] = (["rowBytes", "planeRows", "sourceRow"] as const).map(field);
      const [rowLength, columnTable] = (["rowLength", "columnTable"] as const).map(field);
      const evenPhase = field("evenPhase");
      const [imageBytes, phaseBytes, slack] = (["imageBytes", "phaseBytes", "slack"] as const).map(field);
      const [image, c, a, b, i] = ["image", "c", "a", "b", "i"].map((name) => f.local("i32", name));
      const [source, pixel, stretch, y] = ["source", "pixel", "stretch", "y"].map((name) =>
        f.local("i32", name),
      );
      const [plane, row, at] = ["plane", "row", "at"].map((name) => f.local("i32", name));
      const [mean, slope, constant] = ["mean", "slope", "constant"].map((name) => f.local("v128", name));
      const ofChannel = f.local("i32", "ofChannel");
      const [lead, count, firstPixel, rest] = ["lead", "count", "firstPixel", "rest"].map((name) =>
        f.local("i32", name),
      );
      const isThin = f.local("i32", "isThin");
      const margin = (floats: Local<"i32">) =>
        f.if(
          isThin,
          () => v128.store(at, f.f32x4.splat(0)),
          () => f.call(clear, { to: at, count: floats }),
        );
      const [firstY, lastY] = [f.local("i32", "firstY"), f.local("i32", "lastY")];
      firstY.set(i32.sub(i32.mul(firstRow, strideV), beforeV));
      lastY.set(i32.sub(i32.add(firstY, i32.mul(planeRows, strideV)), 1));
      firstY.set(f.select(firstY, 0, i32.gt_s(firstY, 0)));
      lastY.set(f.select(lastY, f.let(i32.sub(extentV, 1)), i32.lt_s(lastY, extentV)));
      f.forRange(image, 0, images, 1, () => {
        source.set(from);
        f.if(i32.gt_s(lastY, firstY), () =>
          f.call(touch, {
            from: i32.add(from, i32.mul(firstY, sourceRow)),
            rowBytes: planLayout.load(f, plan, "sourceChannel"),
            rows: channels,
            bytes: i32.mul(i32.sub(lastY, firstY), sourceRow),
            to: i32.add(to, i32.mul(image, imageBytes)),
          }),
        );
        f.forRange(c, 0, channels, 1, () => {
          plane.set(i32.mul(c, planLayout.load(f, plan, "channelBytes")));
          plane.set(i32.add(i32.add(to, i32.mul(image, imageBytes)), plane));
          ofChannel.set(i32.add(coefficients, i32.mul(c, coefficientBytes)));
          f.if(coefficients, () => {
            for (const [k, local] of [mean, slope, constant].entries())
              local.set(v128.load32_splat(ofChannel, 4 * k));
          });
          f.forRange(a, 0, strideV, 1, () => {
            const byPhase = () => {
              stretch.set(columnTable);
              f.forRange(b, 0, strideH, 1, () => {
                row.set(plane);
                for (const [k, local] of [lead, count, firstPixel, rest].entries())
                  local.set(i32.load(stretch, 4 * k));
                // What a vector of zeros covers too much of is written later: the pixels, and the next row.
                isThin.set(i32.and(i32.le_s(lead, 4), i32.le_s(rest, 4)));
                const inVectors = i32.and(i32.eq(strideH, 1), i32.ge_s(count, 4));
                f.if(
                  i32.and(i32.and(inVectors, isThin), i32.eqz(coefficients)),
                  () => {
                    const y = i32.sub(i32.add(i32.mul(firstRow, strideV), a), beforeV);
                    f.call(copyPlane, {
                      ...{ source: i32.add(source, firstPixel), to: row, y, stepY: strideV, extentV },
                      ...{ rows: planeRows, sourceRow, rowBytes, lead, count },
                    });
                    row.set(i32.add(row, i32.mul(planeRows, rowBytes)));
                  },
                  () => {
                    f.forRange(i, 0, planeRows, 1, () => {
                      at.set(row);
                      y.set(i32.sub(i32.add(i32.mul(i32.add(firstRow, i), strideV), a), beforeV));
                      f.if(
                        i32.lt_u(y, extentV),
                        () => {
                          margin(lead);
                          at.set(i32.add(at, i32.shl(lead, 2)));
                          pixel.set(i32.add(i32.add(source, i32.mul(y, sourceRow)), firstPixel));
                          const inOnePass = i32.and(i32.eq(strideH, 1), i32.ge_s(count, 4));
                          f.if(
                            i32.and(i32.ne(coefficients, 0), inOnePass),
                            () => f.call(copyNormed, { from: pixel, to: at, count, mean, slope, constant }),
                            () => {
                              f.call(copyRow, { from: pixel, to: at, count, step: i32.shl(strideH, 2) });
                              f.if(coefficients, () =>
                                f.call(normRelu, {
                                  ...{ at, rowBytes: 0, rows: 1, columns: count },
                                  ...{ coefficients: ofChannel, coefficientStep: 0 },
                                }),
                              );
                            },
                          );
                          at.set(i32.add(at, i32.shl(count, 2)));
                          margin(rest);
                        },
                        () => f.call(clear, { to: at, count: rowLength }),
                      );
                      row.set(i32.add(row, rowBytes));
                    });
                  },
                );
                f.call(clear, { to: row, count: slack });
                plane.set(i32.add(plane, phaseBytes));
                stretch.set(i32.add(stretch, 16));
              });
            };
            const inPairs = () => {
              y.set(i32.sub(i32.add(i32.mul(firstRow, strideV), a), beforeV));
              const split = { plan, source, plane, y, stepY: strideV, mean, slope, constant };
              f.if(
                coefficients,
                () => f.call(splitNormedPlanes, split),
                () => f.call(splitPlanes, split),
              );
              plane.set(i32.add(plane, i32.shl(phaseBytes, 1)));
            };
            f.if(i32.ge_s(evenPhase, 0), inPairs, byPhase);
          });
          source.set(i32.add(source, planLayout.load(f, plan, "sourceChannel")));
        });
        from.set(i32.add(from, planLayout.load(f, plan, "sourceImage")));
      });
    },
  );
}
