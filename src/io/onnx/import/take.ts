/** Elements of a tensor at given places of one axis. */
import { expand, gather, slice } from "../../../autograd/index.ts";
import { tensor as makeTensor } from "../../../tensor/create.ts";
import type { Tensor } from "../../../tensor/tensor.ts";

/** The entries of `x` along `axis` at `places`, in that order, repeats included; a view where the places adjoin. */
export function take(x: Tensor, axis: number, places: readonly number[]): Tensor {
  const [first] = places;
  if (places.length === 0) return slice(x, axis, 0, 0);
  if (places.every((place, i) => place === first + i)) return slice(x, axis, first, first + places.length);
  const index = makeTensor(places, {
    shape: x.shape.map((_, at) => (at === axis ? places.length : 1)),
    dtype: "i32",
  });
  const shape = x.shape.map((extent, at) => (at === axis ? places.length : extent));
  return gather(x, expand(index, shape), axis);
}
