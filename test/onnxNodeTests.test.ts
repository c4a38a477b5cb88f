import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { importableOnnxOperators, importOnnx } from "../src/io/index.ts";
import { decodeModel, decodeTensor } from "../src/io/onnx/decode.ts";
import { hostTensor, tensorOfHost } from "../src/io/onnx/tensors.ts";

/**
 * The ONNX project's own test cases of the operators that we import (folder `node` of Debian's libonnx-testdata, say):
 * a model of one node, inputs, and the outputs that it must give.
 */
const folder = process.env.GRADWEAVE_ONNX_NODE_TESTS;

/** Cases whose operators we import, but not so: what they need, and why that is not offered. */
const notApplicable: readonly [pattern: RegExp, reason: string][] = [
  [/pool_[13]d_/, "pools images only, not lines or volumes"],
  [/maxpool_with_argmax/, "gives out no places of maxima"],
  [/training_mode|training_dropout/, "runs inference only"],
  [/STRING/, "has no tensors of text"],
  [/to_B?FLOAT16/, "computes half precision in f32"],
  [/BFLOAT16_to_FLOAT/, "the case's input is of another type than its model says"],
  [/identity_(opt|sequence)/, "has no optional values or sequences"],
  [/resize_.*cubic/, "resizes by nearest and linear"],
  [/tf_crop_and_resize/, "resizes whole images"],
  // The case takes the scaled extent before it is rounded down; the specification, PyTorch and ours the extent itself.
  [/resize_downsample_scales_linear_align_corners/, "the case contradicts the specification"],
];

function reasonToSkip(name: string): string | null {
  return notApplicable.find(([pattern]) => pattern.test(name))?.[1] ?? null;
}

function tensorIn(path: string) {
  return hostTensor(decodeTensor(readFileSync(path)));
}

async function check(path: string): Promise<void> {
  const model = await importOnnx(join(path, "model.onnx"));
  const data = join(path, "test_data_set_0");
  const files = (kind: string) =>
    readdirSync(data)
      .filter((name) => name.startsWith(kind))
      .sort((a, b) => Number(a.match(/\d+/)?.[0]) - Number(b.match(/\d+/)?.[0]))
      .map((name) => tensorIn(join(data, name)));
  const inputs = files("input").map((host) => tensorOfHost(host, "input"));
  const outputs = model.forwardAll(...inputs);
  const expected = files("output");
  expect(outputs.length).toBe(expected.length);
  expected.forEach((wanted, i) => {
    expect(outputs[i].shape).toEqual(wanted.shape);
    const [got, want] = [outputs[i].dataSync(), Array.from(wanted.values)];
    want.forEach((value, j) => {
      const close =
        Object.is(value, got[j]) ||
        value === got[j] ||
        Math.abs(value - got[j]) <= 1e-5 + 1e-4 * Math.abs(value);
      if (!close) expect([j, got[j]]).toEqual([j, value]);
    });
  });
}

if (!folder || !existsSync(folder)) {
  describe("ONNX's own node tests", () => {
    it.skip("are skipped: GRADWEAVE_ONNX_NODE_TESTS names no folder that holds them", () => {});
  });
} else {
  const known = new Set(importableOnnxOperators());
  const cases = readdirSync(folder).filter((name) => {
    const { nodes } = decodeModel(readFileSync(join(folder, name, "model.onnx"))).graph;
    return nodes.every(({ domain, opType }) => domain === "" && known.has(opType));
  });
  describe("ONNX's own node tests", () => {
    for (const name of cases) {
      const reason = reasonToSkip(name);
      if (reason) it.skip(`${name}: ${reason}`, () => {});
      else it(name, () => check(join(folder, name)));
    }
  });
}
