/**
 * The walk over the half tiles of an item whose padded images are read where they lie: a tile's two halves may lie
 * apart, so that columns follow small images closely, and go on from one image to the next.
 */
import type { Expression, FunctionBuilder, Local } from "../../encoder/index.ts";
import { floatBytes } from "./record.ts";

interface Image {
  /** Of the padded image, in bytes. */
  readonly rowBytes: Local<"i32">;
  readonly imageBytes: Local<"i32">;
  readonly outputColumns: Local<"i32">;
}

/** Walks over half tiles of `width / 2` columns. */
export function walkHalfTiles(
  f: FunctionBuilder,
  { rowBytes, imageBytes, outputColumns }: Image,
  width: number,
) {
  const { i32 } = f;
  const [imageHalves, next, inImage, imageAt] = ["imageHalves", "next", "inImage", "imageAt"].map((name) =>
    f.local("i32", name),
  );
  return {
    /** Half tiles of an image, after `begin`. */
    imageHalves,
    /** Half tiles that so many rows of outputs take. */
    countOf(rows: Local<"i32">) {
      const columns = i32.mul(i32.sub(rows, 1), i32.shr_u(rowBytes, 2));
      return i32.div_u(i32.add(i32.add(columns, outputColumns), width / 2 - 1), width / 2);
    },
    /** Begins with the first half of the image at `address`, of `halves` each. */
    begin(address: Local<"i32">, halves: Expression<"i32">): void {
      imageHalves.set(halves);
      inImage.set(0);
      imageAt.set(address);
      next.set(address);
    },
    /** Gives where the next half tile is gathered, and goes on, from image to image. */
    take(into: Local<"i32">): void {
      into.set(next);
      next.set(i32.add(next, (floatBytes * width) / 2));
      inImage.set(i32.add(inImage, 1));
      f.if(i32.eq(inImage, imageHalves), () => {
        inImage.set(0);
        imageAt.set(i32.add(imageAt, imageBytes));
        next.set(imageAt);
      });
    },
  };
}
