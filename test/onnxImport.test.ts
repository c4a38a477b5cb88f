import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { nn, noGrad, ones, randn, sum, type Tensor, tensor, zeros } from "../src/index.ts";
import { exportOnnx, FileFormatError, importableOnnxOperators, importOnnx } from "../src/io/index.ts";
import { decodeModel } from "../src/io/onnx/decode.ts";
import { encodeModel } from "../src/io/onnx/encode.ts";
import type {
  OnnxAttribute,
  OnnxModelFile,
  OnnxNode,
  OnnxTensor,
  OnnxValueInfo,
} from "../src/io/onnx/model.ts";
import { integersTensor } from "../src/io/onnx/tensors.ts";
import { WireWriter } from "../src/io/onnx/wire.ts";

const folder = mkdtempSync(path.join(tmpdir(), "onnx-"));
afterAll(() => rmSync(folder, { recursive: true }));

function node(
  opType: string,
  inputs: readonly string[],
  outputs: readonly string[],
  attributes: Readonly<Record<string, OnnxAttribute>> = {},
  domain = "",
): OnnxNode {
  const name = `the ${opType}`;
  return { name, domain, opType, inputs, outputs, attributes: new Map(Object.entries(attributes)) };
}

const info = (name: string, shape: OnnxValueInfo["shape"] = null, dataType = 1): OnnxValueInfo => ({
  name,
  dataType,
  shape,
});

function floats(
  name: string,
  values: readonly number[],
  shape: readonly number[] = [values.length],
): OnnxTensor {
  const bytes = new Uint8Array(Float32Array.from(values).buffer);
  return { name, shape: shape.map(BigInt), dataType: 1, content: { kind: "raw", bytes } };
}

function model(
  nodes: readonly OnnxNode[],
  more: Partial<OnnxModelFile["graph"]> = {},
  opset = 17,
): OnnxModelFile {
  return {
    irVersion: 8,
    producer: "a test",
    opsets: [{ domain: "", version: opset }],
    graph: {
      name: "graph",
      nodes,
      initializers: [],
      inputs: [info("x")],
      outputs: [info("y")],
      values: [],
      hasSparseInitializers: false,
      ...more,
    },
    metadata: new Map([["key", "value"]]),
    functions: [],
  };
}

const integer = (value: number): OnnxAttribute => ({ kind: "integer", value: BigInt(value) });

async function run(file: OnnxModelFile, ...inputs: Tensor[]): Promise<Tensor> {
  const module = await importOnnx(encodeModel(file));
  return noGrad(() => module.forward(...inputs));
}

describe("importOnnx of PyTorch's exporter", () => {
  const fixtures = path.join(import.meta.dirname, "fixtures/onnx");
  const expected: { shape: number[]; logits: number[] } = JSON.parse(
    readFileSync(path.join(fixtures, "expected.json"), "utf8"),
  );

  it.each([11, 13, 17])("opset %i gives PyTorch's numbers", async (opset) => {
    const module = await importOnnx(path.join(fixtures, `pytorch-opset${opset}.onnx`));
    const count = expected.shape.reduce((a, b) => a * b);
    const image = tensor(
      Float32Array.from({ length: count }, (_, i) => Math.sin(i * 0.37)),
      { shape: expected.shape },
    );
    const logits = noGrad(() => module.forward(image)).dataSync();
    expect(logits.length).toBe(expected.logits.length);
    expected.logits.forEach((value, i) => void expect(Math.abs(logits[i] - value)).toBeLessThan(1e-5));
    expect([...module.stateDict().keys()]).toContain("fc.weight");
  });

  it("with open sizes takes images of other sizes", async () => {
    const module = await importOnnx(path.join(fixtures, "pytorch-opset17.onnx"));
    expect(noGrad(() => module.forward(randn([3, 3, 41, 64]))).shape).toEqual([3, 5]);
  });
});

describe("an imported module", () => {
  const linear = () =>
    model([node("Gemm", ["x", "head.weight", "head.bias"], ["y"], { transB: integer(1) })], {
      initializers: [floats("head.weight", [1, 2, 3, 4, 5, 6], [2, 3]), floats("head.bias", [1, -1])],
    });

  it("has the file's names as its state, and trains", async () => {
    const module = await importOnnx(encodeModel(linear()));
    expect([...module.stateDict().keys()]).toEqual(["head.weight", "head.bias"]);
    sum(module.forward(ones([1, 3]))).backward();
    expect(module.parameters().map(({ grad }) => grad?.toArraySync())).toEqual([
      [
        [1, 1, 1],
        [1, 1, 1],
      ],
      [1, 1],
    ]);
  });

  it("can be copied, and converted to f64", async () => {
    const module = await importOnnx(encodeModel(linear()));
    const copy = module.copy().to("f64");
    const x = tensor([[1, 0, 0]]);
    expect(noGrad(() => copy.forward(x.to("f64"))).toArraySync()).toEqual([[2, 3]]);
    expect(noGrad(() => module.forward(x)).dtype).toBe("f32");
  });

  it("keeps numbers whose names cannot be paths under names of its own", async () => {
    const names = [
      "__proto__",
      "forward",
      "a",
      "a.b",
      "a..b",
      "constructor.prototype",
      "",
      "steps",
      "tensor0",
    ];
    const nodes = names
      .slice(0, -1)
      .map((name, i) => node("Mul", [i === 0 ? "x" : `v${i}`, name || "e"], [`v${i + 1}`]));
    const last = node("Mul", [`v${nodes.length}`, "tensor0"], ["y"]);
    const initializers = names.map((name, i) => floats(name || "e", [i + 2]));
    const module = await importOnnx(encodeModel(model([...nodes, last], { initializers })));
    const product = names.reduce((total, _, i) => total * (i + 2), 1);
    expect(noGrad(() => module.forward(ones([1]))).itemSync()).toBe(product);
    expect(module.stateDict().size).toBe(names.length);
    expect(module.stateDict().get("a")?.itemSync()).toBe(4);
  });

  it("says what its inputs and outputs are, and refuses others", async () => {
    const file = model([node("Relu", ["x"], ["y"])], { inputs: [info("x", ["batch", 3])] });
    const module = await importOnnx(encodeModel(file));
    expect([module.graphInputs, module.graphOutputs]).toEqual([[info("x", ["batch", 3])], [info("y")]]);
    expect(() => module.forward(zeros([2, 4]))).toThrow("input x is [2, 4], the graph expects [batch, 3]");
    expect(() => module.forward(zeros([2, 3], { dtype: "i32" }))).toThrow("is i32, the graph expects f32");
    expect(() => module.forward()).toThrow("0 inputs were given, the graph has 1: x");
  });

  it("gives several outputs by forwardAll alone, and leaves out nodes that none of them needs", async () => {
    const nodes = [
      node("Split", ["x"], ["a", "b"], { axis: integer(1) }),
      node("Reshape", ["x", "bad"], ["unused"]),
    ];
    const initializers = [integersTensor("bad", [7, 7])];
    const module = await importOnnx(
      encodeModel(model(nodes, { initializers, outputs: [info("b"), info("a")] })),
    );
    const outputs = noGrad(() => module.forwardAll(tensor([[1, 2, 3, 4]])));
    expect(outputs.map((x) => x.toArraySync())).toEqual([[[3, 4]], [[1, 2]]]);
    expect(() => module.forward(zeros([1, 4]))).toThrow("2 outputs, b, a; call forwardAll");
  });

  it("names the node of an error in its ops", async () => {
    const file = model([node("Conv", ["x", "w"], ["y"])], {
      initializers: [floats("w", [1, 1], [1, 2, 1, 1])],
    });
    await expect(run(file, zeros([1, 3, 4, 4]))).rejects.toThrow(
      'ONNX: Conv node "the Conv": conv2d: weight [1, 2, 1, 1]',
    );
  });

  it("clips the far ends of slices, which are the largest integers there are", async () => {
    const far = {
      ...integersTensor("end", [0]),
      content: { kind: "raw", bytes: new Uint8Array(BigInt64Array.of(2n ** 63n - 1n).buffer) },
    } as const;
    const file = model([node("Slice", ["x", "start", "end"], ["y"])], {
      initializers: [integersTensor("start", [-2]), far],
    });
    expect((await run(file, tensor([1, 2, 3]))).toArraySync()).toEqual([2, 3]);
  });

  it("reads typed fields, packed or not, as well as raw bytes", async () => {
    const tensorOf = (write: (writer: WireWriter) => WireWriter) =>
      write(new WireWriter().integer(1, 2).integer(2, 1)).text(8, "w");
    const graphOf = (initializer: WireWriter) => {
      const add = new WireWriter().text(1, "x").text(1, "w").text(2, "y").text(4, "Add");
      const value = (name: string) => new WireWriter().text(1, name);
      const graph = new WireWriter()
        .message(1, add)
        .message(5, initializer)
        .message(11, value("x"))
        .message(12, value("y"));
      return new WireWriter()
        .integer(1, 8)
        .message(7, graph)
        .message(8, new WireWriter().integer(2, 17))
        .concatenated();
    };
    const packed = graphOf(tensorOf((writer) => writer.packedFloats(4, [1.5, 2.5])));
    const single = graphOf(tensorOf((writer) => writer.float(4, 1.5).float(4, 2.5)));
    for (const bytes of [packed, single]) {
      const module = await importOnnx(bytes);
      expect(noGrad(() => module.forward(zeros([2]))).toArraySync()).toEqual([1.5, 2.5]);
    }
  });
});

describe("importOnnx refuses by name", () => {
  const relu = node("Relu", ["x"], ["y"]);
  const cases: [what: string, file: OnnxModelFile, message: string][] = [
    [
      "operators that it does not know, all at once",
      model([
        node("Zorro", ["x"], ["a"]),
        node("Relu", ["a"], ["b"], {}, "com.example"),
        node("LSTM", ["b"], ["y"]),
      ]),
      'Zorro (domain "ai.onnx", opset 17), in node "the Zorro"\n  Relu (domain "com.example", opset unknown), in node "the Relu"\n  LSTM',
    ],
    ["operators that are properties of objects", model([node("toString", ["x"], ["y"])]), "toString"],
    [
      "attributes that it does not know",
      model([node("Relu", ["x"], ["y"], { beta: integer(1) })]),
      "attribute beta",
    ],
    [
      "attributes of another kind",
      model([node("Softmax", ["x"], ["y"], { axis: { kind: "text", value: "1" } })]),
      "axis as text",
    ],
    ["opsets of the future", model([relu], {}, 99), "opset 99; 1 to 23 are supported"],
    ["a file without opset", { ...model([relu]), opsets: [] }, "does not say which opset"],
    [
      "training mode",
      model([node("BatchNormalization", ["x", "x", "x", "x", "x"], ["y"], { training_mode: integer(1) })]),
      "training_mode 1",
    ],
    [
      "outputs that are not computed",
      model([
        node("MaxPool", ["x"], ["y", "places"], { kernel_shape: { kind: "integers", value: [2n, 2n] } }),
      ]),
      "output 1, places",
    ],
    [
      "values that nothing makes",
      model([node("Add", ["x", "z"], ["y"])]),
      'reads "z", which nothing before it makes',
    ],
    [
      "circles",
      model([node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"]), node("Relu", ["b"], ["y"])]),
      'reads "b"',
    ],
    ["values made twice", model([relu, relu]), 'makes "y", which is there already'],
    ["outputs that nothing makes", model([relu], { outputs: [info("z")] }), 'nothing makes the output "z"'],
    ["graphs without outputs", model([relu], { outputs: [] }), "no outputs"],
    [
      "margins of millions",
      model([
        node("Conv", ["x", "x"], ["y"], { pads: { kind: "integers", value: [0n, 0n, 0n, 10n ** 9n] } }),
      ]),
      "pads [0, 0, 0, 1000000000]",
    ],
    [
      "2^40 elements",
      model([node("Add", ["x", "w"], ["y"])], { initializers: [floats("w", [1], [2 ** 20, 2 ** 20])] }),
      "1099511627776 elements and data of 1",
    ],
    [
      "a negative extent",
      model([node("Add", ["x", "w"], ["y"])], { initializers: [floats("w", [1], [-1])] }),
      "negative extent",
    ],
    [
      "bytes that are no elements",
      model([node("Add", ["x", "w"], ["y"])], {
        initializers: [{ ...floats("w", [1]), content: { kind: "raw", bytes: new Uint8Array(3) } }],
      }),
      "3 bytes",
    ],
    [
      "text",
      model([node("Add", ["x", "w"], ["y"])], { initializers: [{ ...floats("w", [1]), dataType: 8 }] }),
      "elements of type 8",
    ],
  ];

  it.each(cases)("%s", async (_, file, message) => {
    const reading = importOnnx(encodeModel(file));
    await expect(reading).rejects.toThrow(FileFormatError);
    await expect(reading).rejects.toThrow(message);
  });

  it("sizes that no network has, when they are asked for", async () => {
    const huge = integersTensor("shape", [2 ** 20, 2 ** 20]);
    const file = model([node("ConstantOfShape", ["shape"], ["c"]), node("Add", ["x", "c"], ["y"])], {
      initializers: [huge],
    });
    await expect(run(file, zeros([1]))).rejects.toThrow("more than 536870912 elements");
  });

  it("lists that are longer than any axis", async () => {
    const initializers = [
      integersTensor("long", [2 ** 28]),
      integersTensor("none", []),
      integersTensor("size", [2 ** 27]),
      integersTensor("step", [-1]),
      integersTensor("first", [-1]),
      integersTensor("last", [-(2 ** 40)]),
      integersTensor("axis", [0]),
    ];
    const long = node("ConstantOfShape", ["long"], ["c"]);
    const backwards = node("Slice", ["c", "first", "last", "axis", "step"], ["y"]);
    await expect(run(model([long, backwards], { initializers }), zeros([1]))).rejects.toThrow("one by one");
    const resized = node("Resize", ["x", "", "", "size"], ["y"]);
    await expect(run(model([resized], { initializers }), zeros([1]))).rejects.toThrow("one by one");
    const places = node("Reshape", ["x", "c"], ["y"]);
    await expect(run(model([long, places], { initializers }), zeros([1]))).rejects.toThrow("one by one");
  });

  it("nothing of strides that lead out of the image: they leave one window", async () => {
    const far: OnnxAttribute = { kind: "integers", value: [2n, 2n ** 31n] };
    const kernel: OnnxAttribute = { kind: "integers", value: [2n, 2n] };
    const conv = model([node("Conv", ["x", "w"], ["y"], { strides: far })], {
      initializers: [floats("w", [1, 1, 1, 1], [1, 1, 2, 2])],
    });
    const x = tensor([
      [
        [
          [1, 2, 3],
          [4, 5, 6],
          [7, 8, 9],
        ],
      ],
    ]);
    expect((await run(conv, x)).toArraySync()).toEqual([[[[12]]]]);
    const attributes = { strides: far, kernel_shape: kernel, ceil_mode: integer(1) };
    const pooled = await run(model([node("MaxPool", ["x"], ["y"], attributes)]), x);
    expect(pooled.toArraySync()).toEqual([[[[5], [8]]]]);
  });

  it("windows that are larger than the image", async () => {
    const kernel: OnnxAttribute = { kind: "integers", value: [2n, 2n ** 32n] };
    const attributes = { kernel_shape: kernel, ceil_mode: integer(1) };
    const file = model([node("AveragePool", ["x"], ["y"], attributes)]);
    await expect(run(file, zeros([1, 1, 3, 3]))).rejects.toThrow(
      "windows of [2, 4294967296], and its image is [3, 3]",
    );
  });

  it("tables that two long vectors make", async () => {
    const file = model([node("Reshape", ["x", "column"], ["c"]), node("Mul", ["c", "x"], ["y"])], {
      initializers: [integersTensor("column", [-1, 1])],
    });
    await expect(run(file, zeros([40_000]))).rejects.toThrow("asks for [40000, 40000], more than");
  });

  it.each([
    ["an empty file", new Uint8Array(0), "no graph"],
    ["text", new TextEncoder().encode("Hello, this is no model at all"), "ONNX"],
    ["a picture", Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10), "ONNX"],
    [
      "a field that is longer than the file",
      Uint8Array.of(0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f),
      "is the file complete?",
    ],
    ["a number that never ends", new Uint8Array(40).fill(0xff), "more than ten bytes"],
  ])("%s", async (_, bytes, message) => {
    await expect(importOnnx(bytes)).rejects.toThrow(FileFormatError);
    await expect(importOnnx(bytes)).rejects.toThrow(message);
  });

  it("directories and missing files", async () => {
    await expect(importOnnx(folder)).rejects.toThrow("is a directory");
    await expect(importOnnx(path.join(folder, "none.onnx"))).rejects.toThrow("ENOENT");
  });
});

describe("data beside an ONNX file", () => {
  const home = path.join(folder, "model");
  mkdirSync(path.join(home, "sub"), { recursive: true });
  const values = new Uint8Array(Float32Array.of(9, 1, 2, 3).buffer);
  writeFileSync(path.join(home, "weights.bin"), values);
  writeFileSync(path.join(folder, "secret.bin"), values);
  symlinkSync(path.join(folder, "secret.bin"), path.join(home, "link.bin"));

  function external(location: string, offset?: string, length?: string): Uint8Array {
    const entry = (key: string, value: string) => new WireWriter().text(1, key).text(2, value);
    const initializer = new WireWriter().integer(1, 3).integer(2, 1).text(8, "w").integer(14, 1);
    initializer.message(13, entry("location", location));
    if (offset !== undefined) initializer.message(13, entry("offset", offset));
    if (length !== undefined) initializer.message(13, entry("length", length));
    const add = new WireWriter().text(1, "x").text(1, "w").text(2, "y").text(4, "Add");
    const value = (name: string) => new WireWriter().text(1, name);
    const graph = new WireWriter()
      .message(1, add)
      .message(5, initializer)
      .message(11, value("x"))
      .message(12, value("y"));
    return new WireWriter().message(7, graph).message(8, new WireWriter().integer(2, 17)).concatenated();
  }

  async function load(...entry: Parameters<typeof external>) {
    const file = path.join(home, "model.onnx");
    writeFileSync(file, external(...entry));
    return importOnnx(file);
  }

  it("are read when they lie in its folder", async () => {
    const module = await load("weights.bin", "4", "12");
    expect(noGrad(() => module.forward(zeros([3]))).toArraySync()).toEqual([1, 2, 3]);
    await load("sub/../weights.bin", "4").then(
      () => expect.unreachable(),
      (error: unknown) => void expect(String(error)).toContain("leads out"),
    );
  });

  it.each([
    ["../secret.bin", "leads out of the model's folder"],
    ["/etc/hostname", "leads out of the model's folder"],
    ["C:\\secret.bin", "leads out of the model's folder"],
    ["sub\\..\\..\\secret.bin", "leads out of the model's folder"],
    ["link.bin", "a link that leads out"],
    ["sub", "no regular file"],
    ["none.bin", "is not there"],
    ["", "leads out"],
    ["a\0b", "leads out"],
  ])("%j is refused", async (location, message) => {
    await expect(load(location, "4", "12")).rejects.toThrow(FileFormatError);
    await expect(load(location, "4", "12")).rejects.toThrow(message);
  });

  it.each([
    ["4", "16", "at bytes 4 to 20 of one of 16 bytes"],
    ["4", "8", "3 elements and data of 2"],
    ["-4", "12", "no number of bytes"],
    ["1e1", "12", "no number of bytes"],
    ["99999999999999999999", "12", "no number of bytes"],
  ])("offset %s and length %s are refused", async (offset, length, message) => {
    await expect(load("weights.bin", offset, length)).rejects.toThrow(message);
  });

  it("cannot be found from bytes alone", async () => {
    await expect(importOnnx(external("weights.bin"))).rejects.toThrow("give importOnnx the path");
  });
});

describe("ONNX files", () => {
  it("read as they were written", () => {
    const attributes: Record<string, OnnxAttribute> = {
      float: { kind: "float", value: 0.5 },
      integer: { kind: "integer", value: -(2n ** 63n) },
      text: { kind: "text", value: "ü" },
      floats: { kind: "floats", value: [1, -2.5] },
      integers: { kind: "integers", value: [-1n, 2n ** 62n] },
      texts: { kind: "texts", value: ["a", ""] },
      empty: { kind: "integers", value: [] },
      tensor: { kind: "tensor", value: floats("", [1, 2], [2, 1]) },
    };
    const file = model([node("Something", ["x", "", "w"], ["y"], attributes, "com.example")], {
      initializers: [floats("w", [3])],
      inputs: [info("x", [1, "batch", null])],
      values: [info("between", [2])],
    });
    expect(decodeModel(encodeModel(file))).toEqual(file);
  });

  it("of any mutation are read or refused by name, and what is read runs or says why not", async () => {
    const network = new nn.Sequential(
      new nn.Conv2d(1, 2, 3, { padding: 1 }),
      new nn.BatchNorm2d(2),
      new nn.ReLU(),
      new nn.MaxPool2d(2),
      new nn.Flatten(),
      new nn.Linear(8, 2),
    );
    const x = randn([1, 1, 4, 4]);
    const valid = exportOnnx(network.eval(), x);
    const mutation = fc.record({
      at: fc.nat(valid.length - 1),
      byte: fc.nat(255),
      cut: fc.option(fc.nat(valid.length), { freq: 5 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 3 }), async (mutations) => {
        let bytes = valid.slice();
        for (const { at, byte, cut } of mutations) {
          bytes[at] = byte;
          if (cut !== null) bytes = bytes.slice(0, cut);
        }
        const module = await importOnnx(bytes).catch((error: unknown) => {
          expect(error).toBeInstanceOf(FileFormatError);
          return null;
        });
        if (!module) return;
        try {
          noGrad(() => module.forwardAll(x));
        } catch (error) {
          expect(error).toBeInstanceOf(Error);
          expect(error).not.toBeInstanceOf(TypeError);
        }
      }),
      { numRuns: 500 },
    );
  });

  it("list the operators that can be imported, as docs/onnx.md does", () => {
    const names = importableOnnxOperators();
    const page = readFileSync(path.resolve(import.meta.dirname, "../docs/onnx.md"), "utf8");
    const listed = /<!-- operators -->([^<]*)<!-- end -->/.exec(page)?.[1].trim().split(/,\s+/);
    expect(listed).toEqual(names);
    expect(names).toEqual([...names].sort());
    for (const name of ["Conv", "BatchNormalization", "Gemm", "Resize", "Upsample", "Softmax"])
      expect(names).toContain(name);
  });
});
