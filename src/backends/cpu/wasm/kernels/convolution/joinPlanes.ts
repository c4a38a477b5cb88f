/**
 * Puts small images side by side, channel by channel, so that the weight gradient walks several as one; or their rows
 * as far apart as those of the padded image, with zeros where it has its margin.
 */
import type { ModuleBuilder } from "../../encoder/index.ts";
import type { CopyRow } from "./prepareImage.ts";

/**
 * (begin, end, scratch, from, imageBytes, planeBytes, rowBytes, images, batch, rows, columns, channels, to, toRow,
 * rest, between): the item is a channel of a batch of images. Puts its planes side by side, `rest` zeros after each of
 * their rows and `between` after each plane, and zeroes what is left of `toRow` bytes.
 */
export function defineJoinPlanes(module: ModuleBuilder, copyRow: CopyRow): void {
  const source = {
    from: "i32",
    imageBytes: "i32",
    planeBytes: "i32",
    rowBytes: "i32",
    images: "i32",
  } as const;
  const sizes = {
    batch: "i32",
    rows: "i32",
    columns: "i32",
    channels: "i32",
    to: "i32",
    toRow: "i32",
    rest: "i32",
    between: "i32",
  } as const;
  const params = { begin: "i32", end: "i32", scratch: "i32", ...source, ...sizes } as const;
  module.func("joinPlanes", { params }, (f, given) => {
    const { begin, end, from, imageBytes, planeBytes, rowBytes, images, batch, rows, columns } = given;
    const { i32, f32 } = f;
    const names = ["item", "image", "last", "row", "plane", "pixel", "target", "stop", "next"];
    const [item, image, last, row, plane, pixel, target, stop, next] = names.map((name) =>
      f.local("i32", name),
    );
    f.forRange(item, begin, end, 1, () => {
      image.set(i32.mul(i32.div_u(item, given.channels), batch));
      last.set(i32.add(image, batch));
      last.set(f.select(last, images, i32.lt_s(last, images)));
      const channelAt = i32.mul(i32.rem_u(item, given.channels), planeBytes);
      plane.set(i32.add(i32.add(from, i32.mul(image, imageBytes)), channelAt));
      target.set(i32.add(given.to, i32.mul(item, given.toRow)));
      stop.set(i32.add(target, given.toRow));
      f.forRange(image, image, last, 1, () => {
        pixel.set(plane);
        f.forRange(row, 0, rows, 1, () => {
          f.call(copyRow, { from: pixel, to: target, count: columns, step: 4 });
          pixel.set(i32.add(pixel, rowBytes));
          target.set(i32.add(target, i32.shl(columns, 2)));
          next.set(i32.add(target, i32.shl(given.rest, 2)));
          f.forPointer(target, target, next, 4, () => f32.store(target, 0));
        });
        next.set(i32.add(target, i32.shl(given.between, 2)));
        next.set(f.select(next, stop, i32.lt_u(next, stop)));
        f.forPointer(target, target, next, 4, () => f32.store(target, 0));
        plane.set(i32.add(plane, imageBytes));
      });
      f.forPointer(target, target, stop, 4, () => f32.store(target, 0));
    });
  });
}
