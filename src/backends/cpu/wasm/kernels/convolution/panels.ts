/** Packs the left operand, weights, into panels of as many rows as a tile: every step of the depth is read in a row. */
import type { FunctionHandle, ModuleBuilder } from "../../encoder/index.ts";
import { planLayout } from "./plan.ts";
import { tileRows } from "./tile.ts";

const panelParams = { from: "i32", rowBytes: "i32", to: "i32", table: "i32", depth: "i32" } as const;

/**
 * (begin, end, scratch, plan, weights, groupBytes, rowBytes, table, panels): the item is a panel of a group. Step k of
 * the depth lies `table[k]` bytes from its row. Panels come block by block of the depth, `[block][panel][step][row]`.
 */
export function definePackPanels(module: ModuleBuilder): void {
  const panelPackers: FunctionHandle<typeof panelParams, undefined>[] = Array.from(
    { length: tileRows },
    (_, i) =>
      module.func(
        `packPanel_${i + 1}`,
        { params: panelParams, exported: false },
        (f, { from, rowBytes, to, table, depth }) => {
          const { i32, f32 } = f;
          const rows = [from];
          while (rows.length <= i)
            rows.push(f.let(i32.add(rows[rows.length - 1], rowBytes), `row${rows.length}`));
          const end = f.let(i32.add(table, i32.shl(depth, 2)), "end");
          f.forPointer(table, table, end, 4, () => {
            const at = f.let(i32.load(table));
            for (const [r, row] of rows.entries()) f32.store(to, f32.load(i32.add(row, at)), 4 * r);
            to.set(i32.add(to, 4 * rows.length));
          });
        },
      ),
  );
  module.func(
    "packPanels",
    {
      params: {
        begin: "i32",
        end: "i32",
        scratch: "i32",
        plan: "i32",
        weights: "i32",
        groupBytes: "i32",
        rowBytes: "i32",
        table: "i32",
        panels: "i32",
      },
    },
    (f, { begin, end, plan, weights, groupBytes, rowBytes, table, panels }) => {
      const { i32 } = f;
      const field = (name: (typeof planLayout.fields)[number]) => f.let(planLayout.load(f, plan, name), name);
      const [count, tall, height] = (["panels", "tallPanels", "panelRows"] as const).map(field);
      const [results, depth, block] = (["results", "depth", "block"] as const).map(field);
      const [item, panel, group, first, rows] = ["item", "panel", "group", "first", "rows"].map((name) =>
        f.local("i32", name),
      );
      const [step, steps, to] = [f.local("i32", "step"), f.local("i32", "steps"), f.local("i32", "to")];
      f.forRange(item, begin, end, 1, () => {
        group.set(i32.div_u(item, count));
        panel.set(i32.rem_u(item, count));
        first.set(i32.add(i32.mul(panel, height), f.select(panel, tall, i32.lt_s(panel, tall))));
        rows.set(i32.add(height, i32.lt_s(panel, tall)));
        f.forRange(step, 0, depth, block, () => {
          steps.set(f.select(block, i32.sub(depth, step), i32.lt_s(block, i32.sub(depth, step))));
          const block0 = i32.add(i32.mul(i32.mul(group, results), depth), i32.mul(step, results));
          to.set(i32.add(panels, i32.shl(i32.add(block0, i32.mul(first, steps)), 2)));
          const from = f.let(i32.add(i32.add(weights, i32.mul(group, groupBytes)), i32.mul(first, rowBytes)));
          const at = f.let(i32.add(table, i32.shl(step, 2)));
          for (const [i, packer] of panelPackers.entries())
            f.if(i32.eq(rows, i + 1), () => f.call(packer, { from, rowBytes, to, table: at, depth: steps }));
        });
      });
    },
  );
}
