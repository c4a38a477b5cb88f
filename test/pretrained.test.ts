import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import {
  abs,
  add,
  batchNormWith,
  concat,
  conv2d,
  globalAvgPool2d,
  leakyRelu,
  manualSeed,
  matmul,
  nn,
  noGrad,
  randn,
  reshape,
  split,
  type Tensor,
  transpose,
  zeros,
} from "../src/index.ts";
import { FileFormatError, loadPretrained, pretrainedNames, saveSafetensors } from "../src/io/index.ts";
import { createModel, densenet } from "../src/models/index.ts";

const folder = mkdtempSync(join(tmpdir(), "pretrained-"));
afterAll(() => rmSync(folder, { recursive: true }));
const path = join(folder, "checkpoint.safetensors");

const small = () => densenet({ blocks: [2, 1], growthRate: 4, stemChannels: 8, classes: 3 });

/** The state under other names, as a checkpoint file; without the counters, which old ones have not. */
async function save(model: nn.Module, rename: (name: string) => string = (name) => name): Promise<string[]> {
  const named = [...model.stateDict()].filter(([name]) => !name.endsWith("num_batches_tracked"));
  const state = new Map(named.map(([name, tensor]) => [rename(name), tensor]));
  await saveSafetensors(path, state);
  return [...state.keys()];
}

const stateOf = (model: nn.Module) =>
  [...model.stateDict()]
    .filter(([name]) => !name.endsWith("tracked"))
    .map(([name, x]) => [name, x.toArraySync()]);

describe("loadPretrained", () => {
  it("loads a checkpoint with the model's own names, and says so", async () => {
    const [trained, fresh] = [small(), small()];
    const names = await save(trained);
    const report = await loadPretrained(fresh, path);
    expect(report).toEqual({
      mapping: "torchvision",
      loaded: names,
      missing: [],
      unexpected: [],
      misshapen: [],
    });
    expect(stateOf(fresh)).toEqual(stateOf(trained));
  });

  it("finds torchvision's old DenseNet names, and what trainers put before names", async () => {
    const [trained, fresh] = [small(), small()];
    await save(trained, (name) => `module.${name.replace(/(denselayer\d+\.(?:norm|conv))([12])/, "$1.$2")}`);
    const report = await loadPretrained(fresh, path);
    expect(report.mapping).toBe("torchvision's old DenseNets");
    expect(stateOf(fresh)).toEqual(stateOf(trained));
  });

  it("finds timm's EfficientNet names", async () => {
    const { names } = { names: pretrainedNames.timmEfficientNet };
    const target = (stored: string) => names.map(stored).map(({ name }) => name);
    // As timm's efficientnet_b0 lists them, beside torchvision's.
    expect(target("conv_stem.weight")).toEqual(["features.0.0.weight"]);
    expect(target("bn1.running_mean")).toEqual(["features.0.1.running_mean"]);
    expect(target("blocks.0.0.conv_dw.weight")).toEqual(["features.1.0.block.0.0.weight"]);
    expect(target("blocks.0.0.se.conv_reduce.bias")).toEqual(["features.1.0.block.1.fc1.bias"]);
    expect(target("blocks.0.0.conv_pw.weight")).toEqual(["features.1.0.block.2.0.weight"]);
    expect(target("blocks.0.0.bn2.weight")).toEqual(["features.1.0.block.2.1.weight"]);
    expect(target("blocks.4.2.bn1.running_var")).toEqual(["features.5.2.block.0.1.running_var"]);
    expect(target("blocks.6.0.se.conv_expand.weight")).toEqual(["features.7.0.block.2.fc2.weight"]);
    expect(target("blocks.6.0.conv_pwl.weight")).toEqual(["features.7.0.block.3.0.weight"]);
    expect(target("blocks.6.0.bn3.bias")).toEqual(["features.7.0.block.3.1.bias"]);
    expect(target("conv_head.weight")).toEqual(["features.8.0.weight"]);
    expect(target("bn2.weight")).toEqual(["features.8.1.weight"]);
    expect(target("classifier.bias")).toEqual(["classifier.1.bias"]);
    const model = nn.init.withoutDrawing(() => createModel("efficientnet-b0"));
    const layers = (first: boolean): Record<string, string> => ({
      [first ? "0.0" : "1.0"]: "conv_dw",
      [first ? "0.1" : "1.1"]: first ? "bn1" : "bn2",
      [first ? "1.fc1" : "2.fc1"]: "se.conv_reduce",
      [first ? "1.fc2" : "2.fc2"]: "se.conv_expand",
      [first ? "2.0" : "3.0"]: first ? "conv_pw" : "conv_pwl",
      [first ? "2.1" : "3.1"]: first ? "bn2" : "bn3",
      ...(first ? {} : { "0.0": "conv_pw", "0.1": "bn1" }),
    });
    await save(model, (name) =>
      name
        .replace(/^features\.0\.0/, "conv_stem")
        .replace(/^features\.0\.1/, "bn1")
        .replace(/^features\.8\.0/, "conv_head")
        .replace(/^features\.8\.1/, "bn2")
        .replace(/^classifier\.1/, "classifier")
        .replace(
          /^features\.(\d)\.(\d)\.block\.(\d\.\w+)\./,
          (_, row, block, layer) => `blocks.${row - 1}.${block}.${layers(row === "1")[layer]}.`,
        ),
    );
    const report = await loadPretrained(createModel("efficientnet-b0"), path);
    expect(report.mapping).toBe("timm's EfficientNet");
    expect([report.missing, report.unexpected]).toEqual([[], []]);
  });

  it("reports what is missing, unexpected and of another shape, and loads the rest unless strict", async () => {
    const trained = small();
    const state = new Map([...trained.stateDict()].filter(([name]) => name !== "features.norm5.bias"));
    state.set("classifier.weight", zeros([7, 14])).set("extra", zeros([1]));
    await saveSafetensors(path, state);
    const fresh = small();
    const before = stateOf(fresh);
    const strict = loadPretrained(fresh, path);
    await expect(strict).rejects.toThrow(FileFormatError);
    for (const text of [
      "1 tensors of the model are missing in the file:\n      features.norm5.bias",
      "1 tensors of the file have no place in the model:\n      extra",
      "classifier.weight is [7, 14], the model has [3, ",
      "strict: false",
      path,
    ])
      await expect(strict).rejects.toThrow(text);
    expect(stateOf(fresh)).toEqual(before);
    const report = await loadPretrained(fresh, path, { strict: false });
    expect(report.missing).toEqual(["features.norm5.bias"]);
    expect(report.unexpected).toEqual(["extra"]);
    const expected = fresh.stateDict().get("classifier.weight")?.shape;
    expect(report.misshapen).toEqual([{ name: "classifier.weight", stored: [7, 14], expected }]);
    const [left, right] = [stateOf(fresh), stateOf(trained)];
    const differing = left.filter((entry, i) => JSON.stringify(entry) !== JSON.stringify(right[i]));
    expect(differing.map(([name]) => name)).toEqual(["classifier.weight"]);
  });

  it("takes a function for names, and refuses two tensors for one", async () => {
    const trained = new nn.Linear(2, 1);
    await saveSafetensors(
      path,
      new Map([
        ["w", trained.weight],
        ["b", trained.bias ?? zeros([1])],
        ["step", zeros([1])],
      ]),
    );
    const names: Record<string, string> = { w: "weight", b: "bias" };
    const fresh = new nn.Linear(2, 1);
    const report = await loadPretrained(fresh, path, { names: (name) => names[name] ?? null });
    expect(report).toMatchObject({ mapping: "your own", missing: [], unexpected: [], misshapen: [] });
    expect(stateOf(fresh)).toEqual(stateOf(trained));
    await expect(loadPretrained(fresh, path, { names: () => "bias" })).rejects.toThrow("both stand for bias");
  });

  it("loads models in f64", async () => {
    const trained = small();
    await save(trained);
    const fresh = small().to("f64");
    await loadPretrained(fresh, path);
    expect(stateOf(fresh)).toEqual(stateOf(trained));
  });
});

/** timm's CSPDarknet by its own description (CrossStage in models/cspnet.py), from a state under its names. */
function timmCspDarknet(
  state: ReadonlyMap<string, Tensor>,
  blocks: readonly number[],
  images: Tensor,
): Tensor {
  const get = (name: string): Tensor => {
    const tensor = state.get(name);
    if (!tensor) throw new Error(`no ${name}`);
    return tensor;
  };
  const layer = (x: Tensor, name: string, stride = 1): Tensor => {
    const weight = get(`${name}.conv.weight`);
    const y = conv2d(x, weight, { stride, padding: (weight.shape[2] - 1) / 2 });
    const normed = batchNormWith(y, {
      weight: get(`${name}.bn.weight`),
      bias: get(`${name}.bn.bias`),
      mean: get(`${name}.bn.running_mean`),
      variance: get(`${name}.bn.running_var`),
    });
    return leakyRelu(normed, 0.1);
  };
  let x = layer(images, "stem.conv1");
  blocks.forEach((count, i) => {
    const stage = `stages.${i}`;
    const expanded = layer(layer(x, `${stage}.conv_down`, 2), `${stage}.conv_exp`);
    let [bypass, part] = split(expanded, 2, 1);
    for (let j = 0; j < count; j++)
      part = add(layer(layer(part, `${stage}.blocks.${j}.conv1`), `${stage}.blocks.${j}.conv2`), part);
    bypass = concat([bypass, layer(part, `${stage}.conv_transition_b`)], 1);
    x = layer(bypass, `${stage}.conv_transition`);
  });
  const pooled = globalAvgPool2d(x);
  const features = reshape(pooled, [pooled.shape[0], pooled.shape[1]]);
  return add(matmul(features, transpose(get("head.fc.weight"))), get("head.fc.bias"));
}

describe("timm's cross stages", () => {
  it("compute in our CSPDarknet what they compute in timm, whose layout of the same layers is another", async () => {
    manualSeed(4);
    const stages = [
      { channels: 8, blocks: 1, width: 4, parts: [8, 8] },
      { channels: 16, blocks: 2, width: 8, parts: [8, 8] },
    ] as const;
    const state = new Map<string, Tensor>();
    const layer = (name: string, from: number, to: number, kernel: number): void => {
      state.set(`${name}.conv.weight`, randn([to, from, kernel, kernel]));
      state.set(`${name}.bn.weight`, randn([to])).set(`${name}.bn.bias`, randn([to]));
      state
        .set(`${name}.bn.running_mean`, randn([to]))
        .set(`${name}.bn.running_var`, add(abs(randn([to])), 0.5));
    };
    layer("stem.conv1", 3, 4, 3);
    stages.forEach(({ channels, blocks, width, parts }, i) => {
      const stage = `stages.${i}`;
      layer(`${stage}.conv_down`, i === 0 ? 4 : 8, channels, 3);
      layer(`${stage}.conv_exp`, channels, 2 * parts[0], 1);
      for (let j = 0; j < blocks; j++) {
        layer(`${stage}.blocks.${j}.conv1`, parts[1], width, 1);
        layer(`${stage}.blocks.${j}.conv2`, width, parts[1], 3);
      }
      layer(`${stage}.conv_transition_b`, parts[1], parts[1], 1);
      layer(`${stage}.conv_transition`, 2 * parts[0], channels, 1);
    });
    state.set("head.fc.weight", randn([5, 16])).set("head.fc.bias", randn([5]));
    await saveSafetensors(path, state);
    const model = createModel("csp-darknet-53", { stages, stemChannels: 4, classes: 5 }).eval();
    const report = await loadPretrained(model, path);
    expect(report.mapping).toBe("timm's CSPDarknet");
    const images = randn([2, 3, 16, 16]);
    const ours = noGrad(() => model.forward(images)).dataSync();
    const theirs = noGrad(() => timmCspDarknet(state, [1, 2], images)).dataSync();
    const largest = Math.max(...theirs.map(Math.abs));
    theirs.forEach((value, i) => void expect(Math.abs(ours[i] - value)).toBeLessThan(1e-5 * largest));
  });

  it("of CSPResNeXt and Darknet fill every tensor of ours", async () => {
    // From our names to timm's, written from timm's side: an independent inverse of the tables.
    const common = (name: string): string =>
      name
        .replace(/^features\.stem\./, "stem.conv1.")
        .replace(/^classifier\./, "head.fc.")
        .replace(/^features\.stage(\d)\./, (_, number) => `stages.${number - 1}.`)
        .replace(".down.", ".conv_down.")
        .replace(".csp.transitionT.", ".conv_transition_b.")
        .replace(".csp.transitionU.", ".conv_transition.")
        .replace(".csp.block.", ".blocks.")
        .replace(".norm.", ".bn.");
    const resNeXt = nn.init.withoutDrawing(() =>
      createModel("csp-resnext-50", {
        stemChannels: 8,
        groups: 2,
        stages: [
          {
            down: 0,
            parts: [4, 4],
            partActivation: "linear",
            blocks: 1,
            width: 4,
            outChannels: 4,
            fusedChannels: 8,
          },
          {
            down: 8,
            parts: [8, 8],
            partActivation: "linear",
            blocks: 2,
            width: 8,
            outChannels: 8,
            fusedChannels: 16,
          },
        ],
      }),
    );
    const merged = new Map<string, Tensor>();
    for (const [name, tensor] of resNeXt.stateDict()) {
      if (name.endsWith("num_batches_tracked") || name.includes("splitBlock")) continue;
      const twin = resNeXt.stateDict().get(name.replace("splitBypass", "splitBlock"));
      const timm = common(name)
        .replace(".csp.splitBypass.", ".conv_exp.")
        .replace(/(\.blocks\.\d+)\.conv(\d)\.weight/, "$1.conv$2.conv.weight")
        .replace(/(\.blocks\.\d+)\.bn(\d)\./, "$1.conv$2.bn.");
      merged.set(timm, name.includes("splitBypass") && twin ? concat([tensor, twin], 0) : tensor);
    }
    await saveSafetensors(path, merged);
    const report = await loadPretrained(resNeXt, path);
    expect(report.mapping).toBe("timm's CSPResNet and CSPResNeXt");
    const darknet = createModel("darknet-53", {
      stemChannels: 4,
      stages: [{ channels: 8, blocks: 2, width: 4, parts: null }],
    });
    await save(darknet, common);
    expect((await loadPretrained(darknet, path)).mapping).toBe("timm's Darknet");
  });
});
