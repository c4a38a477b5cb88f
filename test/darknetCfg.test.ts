/** Darknet's cfg files: what is read, what is refused and where, and that writing loses nothing. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import {
  type DarknetCfg,
  DarknetError,
  darknetCosts,
  FileFormatError,
  type LayerSection,
  planNetwork,
  readCfg,
  writeCfg,
} from "../src/io/index.ts";

const fixtures = path.join(import.meta.dirname, "fixtures/darknet");
const everySection = readFileSync(path.join(fixtures, "every-section.cfg"), "utf8");

const net = "[net]\nwidth=8\nheight=8\nchannels=4\n";
const conv = "[convolutional]\nfilters=4\nsize=1\nactivation=linear\n";

/** A cfg without what differs between two texts of one network. */
function withoutLines({ net: first, layers }: DarknetCfg): unknown {
  return [first, ...layers].map(({ line: _, ...section }) => section);
}

function refusal(text: string): DarknetError {
  try {
    planNetwork(readCfg(text));
  } catch (error) {
    if (error instanceof DarknetError) return error;
    throw error;
  }
  throw new Error("the cfg was accepted");
}

const firstLayer = (text: string): LayerSection => readCfg(net + text).layers[0];
const shapes = (text: string) =>
  planNetwork(readCfg(net + text)).layers.map(({ outputShape }) => outputShape);

describe("readCfg", () => {
  it("reads every section type, and the shapes follow Darknet's", () => {
    const cfg = readCfg(everySection);
    expect(cfg.net).toMatchObject({
      batch: 4,
      subdivisions: 2,
      learning_rate: 0.1,
      momentum: 0.9,
      decay: 1e-4,
    });
    expect(cfg.net.steps).toEqual([400, 450]);
    const { layers, inputShape } = planNetwork(cfg);
    expect(inputShape).toEqual([3, 32, 32]);
    const listing = layers.map(
      ({ index, section, inputs, outputShape }) =>
        `${index} ${section.kind} ${inputs.join("+")} ${outputShape.join("x")}`,
    );
    expect(listing).toEqual([
      ...["0 convolutional -1 8x32x32", "1 maxpool 0 8x16x16", "2 route 1 4x16x16"],
      ...["3 convolutional 2 4x16x16", "4 route 3+2 8x16x16", "5 shortcut 4+3+0 8x16x16"],
      ...["6 maxpool 5 4x16x16", "7 convolutional 6 4x16x16", "8 sam 7+6 4x16x16", "9 avgpool 8 4x1x1"],
      ...["10 convolutional 9 4x1x1", "11 scale_channels 10+8 4x16x16", "12 local_avgpool 11 4x8x8"],
      ...["13 upsample 12 4x16x16", "14 reorg 13 16x8x8", "15 reorg3d 14 4x16x16", "16 dropout 15 4x16x16"],
      ...["17 convolutional 16 14x16x16", "18 yolo 17 14x16x16", "19 route 16 4x16x16"],
      ...["20 convolutional 19 7x8x8", "21 region 20 7x8x8", "22 route 16 4x16x16"],
      ...["23 convolutional 22 6x8x6", "24 connected 23 12x1x1", "25 connected 24 10x1x1"],
      ...["26 softmax 25 10x1x1", "27 cost 26 10x1x1"],
    ]);
  });

  it("takes Darknet's defaults", () => {
    expect(firstLayer("[convolutional]")).toMatchObject({
      ...{ filters: 1, size: 1, stride: 1, pad: 0, padding: 0, batch_normalize: 0, activation: "logistic" },
    });
    // Without a padding of its own, a pool has size - 1 in all, more of it at the bottom and right.
    expect(shapes("[maxpool]\nsize=2\nstride=2\n")).toEqual([[4, 4, 4]]);
    expect(shapes("[maxpool]\nsize=2\nstride=1\n")).toEqual([[4, 8, 8]]);
    expect(shapes("[maxpool]\nsize=5\nstride=1\n")).toEqual([[4, 8, 8]]);
    expect(shapes("[maxpool]\nsize=3\nstride=2\npadding=0\n")).toEqual([[4, 3, 3]]);
    expect(shapes("[maxpool]\nstride=3\n")).toEqual([[4, 3, 3]]);
    expect(shapes("[maxpool]\nsize=2\nstride_x=2\nstride_y=1\n")).toEqual([[4, 8, 4]]);
    expect(shapes("[convolutional]\nsize=1\npadding=1\ndilation=2\n")).toEqual([[1, 10, 10]]);
  });

  it("knows where each section starts", () => {
    expect(readCfg(`# a\n\n${net}\n${conv}`).layers[0].line).toBe(8);
  });

  it("reads networks without images, of Windows' lines, and of the first of repeated keys", () => {
    expect(planNetwork(readCfg("[net]\ninputs=7\n[connected]\noutput=3\n")).layers[0].outputShape).toEqual([
      3, 1, 1,
    ]);
    expect(readCfg((net + conv).replaceAll("\n", "\r\n")).layers).toHaveLength(1);
    expect(firstLayer(`${conv}filters=9\n`)).toMatchObject({ filters: 4 });
  });

  it.each([
    [
      "an unknown section",
      `${net}[lstm]\noutput=3\n`,
      5,
      "lstm",
      /not supported; supported are convolutional/,
    ],
    ["an unknown key", `${net}${conv}filter=3\n`, 9, "convolutional", /unknown key "filter"/],
    ["a key of the prototype", `${net}${conv}__proto__=3\n`, 9, "convolutional", /unknown key "__proto__"/],
    [
      "an unknown activation",
      `${net}[conv]\nactivation=gelu\n`,
      6,
      "convolutional",
      /must be one of linear, /,
    ],
    [
      "a word for a number",
      `${net}[conv]\nfilters=many\n`,
      6,
      "convolutional",
      /filters=many: filters must be an integer >= 1/,
    ],
    ["a fraction for a size", `${net}[conv]\nsize=2.5\n`, 6, "convolutional", /integer/],
    ["a size of zero", `${net}[conv]\nsize=0\n`, 6, "convolutional", /integer >= 1/],
    ["a missing key", `${net}[route]\n`, 5, "route", /has no layers; add it/],
    ["an empty item in a list", `${net}${conv}[route]\nlayers=-1,\n`, 10, "route", /integers with commas/],
    ["antialiasing", `${net}[maxpool]\nantialiasing=1\n`, 6, "maxpool", /not supported/],
    [
      "weighted shortcuts",
      `${net}${conv}[shortcut]\nfrom=-1\nweights_type=per_channel\n`,
      11,
      "shortcut",
      /not supported/,
    ],
    ["a line that is nothing", `${net}filters\n`, 5, "net", /no key=value/],
    ["a header that is none", "[net\n", 1, null, /no section header/],
    ["a key before any section", "width=3\n", 1, null, /before the first section/],
    ["another first section", `${conv}${net}`, 1, "convolutional", /first section must be \[net\]/],
    ["no layers", net, 1, "net", /no layers/],
    ["no image", `[net]\nwidth=3\n${conv}`, 1, "net", /channels=0, height=0 and width=3/],
  ])("refuses %s with its line", (_, text, line, section, message) => {
    const error = refusal(text);
    expect(error).toBeInstanceOf(FileFormatError);
    expect(error.place).toEqual({ line, section });
    expect(error.message).toMatch(message);
    expect(error.message).toContain(`cfg line ${line}`);
  });

  it("refuses texts that are no cfg", () => {
    expect(refusal("").message).toMatch(/no sections/);
    expect(refusal("\u0000\u0001PNG").message).toMatch(/before the first section/);
    expect(refusal(" ".repeat(2 ** 22 + 1)).message).toMatch(/more than the 4194304 allowed/);
    expect(refusal(net + "[avgpool]\n".repeat(10_000)).message).toMatch(/more than 10000 sections/);
  });
});

describe("planNetwork", () => {
  it.each([
    ["a route to itself", `${net}${conv}[route]\nlayers=1\n`, 9, /layer 1 cannot read layer 1/],
    [
      "a route ahead, which would be a circle",
      `${net}${conv}[route]\nlayers=2\n${conv}`,
      9,
      /cannot read layer 2/,
    ],
    ["a route before the start", `${net}${conv}[route]\nlayers=-5\n`, 9, /cannot read layer -4/],
    ["a route to the image", `${net}[route]\nlayers=-1\n`, 5, /there are none/],
    ["a shortcut to nothing", `${net}${conv}[shortcut]\nfrom=7\n`, 9, /cannot read layer 7/],
    [
      "maps of different sizes side by side",
      `${net}${conv}[maxpool]\nstride=2\n[route]\nlayers=-1,-2\n`,
      11,
      /4 x 4 x 4, 4 x 8 x 8/,
    ],
    [
      "a group beyond the last",
      `${net}${conv}[route]\nlayers=-1\ngroups=2\ngroup_id=2\n`,
      9,
      /group_id=2 must be below groups=2/,
    ],
    [
      "groups that do not divide",
      `${net}[conv]\nfilters=6\ngroups=4\n`,
      5,
      /groups=4 must divide the 4 input channels and filters=6/,
    ],
    ["a window larger than the image", `${net}[conv]\nsize=9\n`, 5, /size=9 does not fit into 4 x 8 x 8/],
    ["a pool with an empty window", `${net}[maxpool]\nsize=2\npadding=3\n`, 5, /without an element/],
    [
      "dilation without its margin",
      `${net}[conv]\nsize=3\ndilation=2\n`,
      5,
      /dilation=2 needs an odd size with pad=1/,
    ],
    [
      "maxout of channels that do not divide",
      `${net}[maxpool]\nmaxpool_depth=1\nout_channels=3\n`,
      5,
      /out_channels=3/,
    ],
    ["sam of different shapes", `${net}${conv}[avgpool]\n[sam]\nfrom=0\n`, 10, /4 x 1 x 1 with 4 x 8 x 8/],
    ["scales of the wrong shape", `${net}${conv}[scale_channels]\nfrom=0\n`, 9, /must be 4 x 1 x 1/],
    ["a reorg that does not divide", `${net}[reorg]\nstride=3\n`, 5, /multiple of 9 channels/],
    ["boxes that the map has not", `${net}[yolo]\nclasses=3\n`, 5, /need filters=8 before, there are 4/],
    [
      "a mask beyond the anchors",
      `${net}[conv]\nfilters=6\n[yolo]\nclasses=1\nnum=2\nmask=2\n`,
      7,
      /mask 2 must lie from 0 to 1/,
    ],
    [
      "reading decoded boxes",
      `${net}[conv]\nfilters=6\n[yolo]\nclasses=1\n${conv}`,
      9,
      /reads layer 1, a \[yolo\]/,
    ],
    [
      "an image of 2^40 numbers",
      "[net]\nwidth=1048576\nheight=262144\nchannels=4\n[avgpool]\n",
      1,
      /limit of 268435456/,
    ],
    ["a feature map of 2^40 numbers", `${net}[upsample]\nstride=65536\n`, 5, /4 x 524288 x 524288/],
    [
      "2^40 weights",
      `${net}[conv]\nfilters=1048576\nsize=512\npadding=256\n`,
      5,
      /1099511627776 weights|limit/,
    ],
    [
      "weights beyond the limit in sum",
      `${net}${"[connected]\noutput=32768\n".repeat(4)}`,
      7,
      /1082130432 weights/,
    ],
  ])("refuses %s", (_, text, line, message) => {
    const error = refusal(text);
    expect(error.place?.line).toBe(line);
    expect(error.message).toMatch(message);
  });

  it("takes larger limits", () => {
    const cfg = readCfg(`${net}[upsample]\nstride=65536\n`);
    expect(planNetwork(cfg, { featureMap: 2 ** 45 }).layers[0].outputShape).toEqual([4, 524288, 524288]);
  });
});

describe("writeCfg", () => {
  it("writes what reads as the same network", () => {
    const cfg = readCfg(everySection);
    const again = readCfg(writeCfg(cfg));
    expect(withoutLines(again)).toEqual(withoutLines(cfg));
    expect(writeCfg(again)).toBe(writeCfg(cfg));
  });

  it("writes sizes even where they are Darknet's defaults, because OpenCV has others", () => {
    expect(writeCfg(readCfg(`${net}[conv]\nbatch_normalize=1\n`))).toContain(
      "[convolutional]\nfilters=1\ngroups=1\nsize=1\nstride=1\npad=0\nbatch_normalize=1\nactivation=logistic\n",
    );
  });
});

describe("darknetCosts", () => {
  it("counts a convolution, a pool and a maxout by hand", () => {
    const text = `${net}[conv]\nfilters=6\nsize=3\nstride=2\npad=1\ngroups=2\nbatch_normalize=1\n[maxpool]\nsize=3\nstride=1\n[maxpool]\nmaxpool_depth=1\nout_channels=2\nsize=1\n[connected]\noutput=5\n`;
    const { layers, ...sums } = darknetCosts(readCfg(text));
    // 6 filters of 2 x 3 x 3 on 4 x 4 pixels; 3 x 3 windows of 6 channels; 1 x 1 of 6; 2 x 4 x 4 to 5.
    expect(layers.map(({ bflops }) => bflops)).toEqual([
      (2 * 108 * 16) / 1e9,
      (9 * 6 * 16) / 1e9,
      (6 * 16) / 1e9,
      0,
    ]);
    expect(sums.weights).toBe(108 + 160);
    expect(sums.trained).toBe(108 + 12 + 160 + 5);
    expect(sums.floats).toBe(108 + 24 + 160 + 5);
    expect(sums.convInputOutput).toBe(4 * 64 + 6 * 16);
    expect(sums.inputOutput).toBe(4 * 64 + 6 * 16 + 2 * 96 + 96 + 32);
    expect(sums.bflops * 1e9).toBeCloseTo(3456 + 864 + 96, 6);
    expect(sums.convBflops * 1e9).toBeCloseTo(3456, 6);
  });
});
