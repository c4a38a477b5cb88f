/**
 * Reads one word of every cache line of some rows, so that what comes next finds them in the second cache.
 *
 * A loop that computes or copies has some ten lines on their way from memory at once, since the processor looks only a
 * few hundred instructions ahead; a loop that does nothing else has as many as the caches can ask for. WebAssembly has
 * no prefetch.
 *
 * Rows that lie apart are read side by side: the processor reads ahead on its own, but takes a few lines of a row to see
 * where it goes, and what it reads beyond the end is of no use. Measured on one Zen 4 core, 3 KB of each of 128 rows that
 * lie 12 KB apart, out of 320 MB, GB/s by rows that are read side by side:
 *
 *     1  13      2  15      4  19      8  21      16  22      rows without gaps, one by one  22
 */
import type { FunctionBuilder, FunctionHandle, Local, ModuleBuilder } from "../encoder/index.ts";

const lineBytes = 64;
/** Rows that are read side by side, as long as there are so many. */
const sideBySide = [16, 4, 1];

const params = {
  from: "i32",
  rowBytes: "i32",
  rows: "i32",
  bytes: "i32",
  to: "i32",
} as const;
export type TouchRows = FunctionHandle<typeof params, undefined>;

/**
 * (from, rowBytes, rows, bytes, to): `bytes` bytes of each row. Writes a word without meaning to `to`, so that the
 * compiler keeps the loads.
 */
export function defineTouchRows(module: ModuleBuilder): TouchRows {
  return module.func("touchRows", { params, exported: false }, (f, { from, rowBytes, rows, bytes, to }) => {
    const { i32 } = f;
    const seen = f.local("i32", "seen");
    const touch = touchTogether(f, { from, rowBytes, bytes, seen });
    // Rows without gaps are one row.
    f.if(i32.eq(rowBytes, bytes), () => {
      bytes.set(i32.mul(bytes, rows));
      rows.set(1);
    });
    for (const count of sideBySide)
      f.while(
        () => i32.ge_s(rows, count),
        () => {
          touch(count);
          rows.set(i32.sub(rows, count));
        },
      );
    i32.store(to, seen);
  });
}

/** Reads `count` rows side by side, and goes on to the row after them. */
function touchTogether(
  f: FunctionBuilder,
  { from, rowBytes, bytes, seen }: Readonly<Record<"from" | "rowBytes" | "bytes" | "seen", Local<"i32">>>,
) {
  const { i32 } = f;
  const [at, end, line] = ["at", "end", "line"].map((name) => f.local("i32", name));
  return (count: number) => {
    end.set(i32.add(from, bytes));
    f.forPointer(at, from, end, lineBytes, () => {
      line.set(at);
      for (let row = 0; row < count; row++) {
        seen.set(i32.xor(seen, i32.load(line)));
        if (row < count - 1) line.set(i32.add(line, rowBytes));
      }
    });
    from.set(i32.add(from, i32.mul(rowBytes, count)));
  };
}
