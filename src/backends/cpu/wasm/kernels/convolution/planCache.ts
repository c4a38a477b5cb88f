/**
 * Plans by the sizes of a call. Looking one up makes no string and no array: a step of a small network looks up a
 * hundred, and what they would leave behind cost more than the lookup.
 */
import type { HostView } from "../../../../backend.ts";
import type { Conv2dAttributes } from "../../../loops/conv2d.ts";

interface Entry<Plan> {
  readonly sizes: Int32Array;
  readonly plan: Plan;
}

/** Numbers of a view of rank 4: its shape and its strides. */
const perView = 8;
/** Numbers of a window: stride, padding, dilation and groups. */
const perWindow = 9;

export class PlanCache<Plan> {
  readonly #entries = new Map<number, Entry<Plan>[]>();
  readonly #sizes: Int32Array;

  /** @param views how many views every call has */
  constructor(views: number) {
    this.#sizes = new Int32Array(views * perView + perWindow);
  }

  /** The plan for these sizes, made by `make` the first time. */
  get(views: readonly HostView[], attributes: Conv2dAttributes, make: () => Plan): Plan {
    const sizes = this.#sizes;
    let at = 0;
    for (const { shape, strides } of views)
      for (let axis = 0; axis < 4; axis++) {
        sizes[at++] = shape[axis];
        sizes[at++] = strides[axis];
      }
    const { stride, padding, dilation, groups } = attributes;
    for (let i = 0; i < 2; i++) {
      sizes[at++] = stride[i];
      sizes[at++] = dilation[i];
      sizes[at++] = padding[i];
      sizes[at++] = padding[i + 2];
    }
    sizes[at] = groups;
    const hash = hashOf(sizes);
    const entries = this.#entries.get(hash) ?? [];
    for (const entry of entries) if (sameSizes(entry.sizes, sizes)) return entry.plan;
    const known = Int32Array.from(sizes);
    const plan = make();
    entries.push({ sizes: known, plan });
    this.#entries.set(hash, entries);
    return plan;
  }
}

/** Fowler, Noll and Vo's hash (FNV-1a), number by number. */
function hashOf(sizes: Int32Array): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < sizes.length; i++) hash = Math.imul(hash ^ sizes[i], 0x01000193);
  return hash;
}

function sameSizes(a: Int32Array, b: Int32Array): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
