/** The shape that each layer makes of its inputs', as Darknet's make_*_layer do, and the combinations it cannot mean. */
import type { LayerSection, LayerType, SectionOf } from "./schema.ts";
import { convolutionWindow, poolingWindow, windowCounts } from "./windows.ts";

/** [channels, height, width] of one image. */
export type MapShape = readonly [channels: number, height: number, width: number];

export function mapText([channels, height, width]: MapShape): string {
  return `${channels} x ${height} x ${width}`;
}

/** Inputs that a layer cannot work on; the caller says where in the cfg. */
export class ShapeError extends Error {
  override readonly name = "ShapeError";
}

/** Throws a `ShapeError` unless the condition holds. */
function need(holds: boolean, message: () => string): void {
  if (!holds) throw new ShapeError(message());
}

type ShapeRule<Type extends LayerType> = (
  section: SectionOf<Type>,
  inputs: readonly [MapShape, ...MapShape[]],
) => MapShape;

const convolutional: ShapeRule<"convolutional"> = (section, [input]) => {
  const [channels, height, width] = input;
  const { filters, groups, size } = section;
  need(
    channels % groups === 0 && filters % groups === 0,
    () => `groups=${groups} must divide the ${channels} input channels and filters=${filters}`,
  );
  const window = convolutionWindow(section);
  need(
    window.dilation === 1 || 2 * window.padding[0] === window.dilation * (size - 1),
    () =>
      `dilation=${window.dilation} needs an odd size with pad=1 (here size=${size}): Darknet's output size ignores dilation`,
  );
  const [rows, columns] = windowCounts(window, height, width);
  need(
    rows >= 1 && columns >= 1,
    () =>
      `a window of size=${size} does not fit into ${mapText(input)} with a margin of ${window.padding[0]}; set pad=1`,
  );
  return [filters, rows, columns];
};

const pooling: ShapeRule<"maxpool" | "local_avgpool"> = (section, [input]) => {
  const [channels, height, width] = input;
  const window = poolingWindow(section);
  const [before, after] = window.padding;
  need(
    after < window.size,
    () =>
      `padding=${before + after} leaves windows of size=${window.size} without an element; at most ${2 * (window.size - 1)}`,
  );
  const [rows, columns] = windowCounts(window, height, width);
  need(
    rows >= 1 && columns >= 1,
    () => `a window of size=${window.size} does not fit into ${mapText(input)}; leave padding out`,
  );
  return [channels, rows, columns];
};

const maxpool: ShapeRule<"maxpool"> = (section, inputs) => {
  if (section.maxpool_depth === 0) return pooling(section, inputs);
  const [[channels, height, width]] = inputs;
  const { out_channels } = section;
  need(
    channels % out_channels === 0,
    () => `maxpool_depth with out_channels=${out_channels} must divide the ${channels} input channels`,
  );
  return [out_channels, height, width];
};

const route: ShapeRule<"route"> = ({ groups, group_id }, inputs) => {
  const [[, height, width]] = inputs;
  need(group_id < groups, () => `group_id=${group_id} must be below groups=${groups}`);
  for (const input of inputs) {
    need(
      input[1] === height && input[2] === width,
      () => `the layers have different sizes: ${inputs.map(mapText).join(", ")}`,
    );
    need(input[0] % groups === 0, () => `groups=${groups} must divide the channels of ${mapText(input)}`);
  }
  return [inputs.reduce((sum, [channels]) => sum + channels / groups, 0), height, width];
};

/** Darknet's shortcut_cpu asks for the same ratio, rounded down, in height and width. */
const shortcut: ShapeRule<"shortcut"> = (_, inputs) => {
  const [output, ...added] = inputs;
  const [, height, width] = output;
  for (const input of added)
    need(
      Math.floor(input[1] / height) === Math.floor(input[2] / width) &&
        Math.floor(height / input[1]) === Math.floor(width / input[2]),
      () =>
        `${mapText(input)} cannot be added to ${mapText(output)}: height and width differ by different factors`,
    );
  return output;
};

const sam: ShapeRule<"sam"> = (_, [input, map]) => {
  need(
    mapText(input) === mapText(map),
    () => `multiplies maps of one shape, not ${mapText(input)} with ${mapText(map)}`,
  );
  return input;
};

const scaleChannels: ShapeRule<"scale_channels"> = ({ scale_wh }, [scale, map]) => {
  const [channels, height, width] = map;
  const wanted: MapShape = scale_wh === 0 ? [channels, 1, 1] : [1, height, width];
  need(
    mapText(scale) === mapText(wanted),
    () => `the layer before must be ${mapText(wanted)} to scale ${mapText(map)}, it is ${mapText(scale)}`,
  );
  return map;
};

/** Reorg reads its input as an image of the channels and size that `blocks` says; see reorg.ts. */
const reorg: ShapeRule<"reorg" | "reorg3d"> = ({ kind, stride, reverse }, [input]) => {
  const [channels, height, width] = input;
  const square = stride * stride;
  // reorg reads blocks of its input, reorg3d of its output, which has that many channels fewer where it is reversed.
  const divisor = kind === "reorg" ? square : reverse === 0 ? 1 : square * square;
  need(
    channels % divisor === 0,
    () => `stride=${stride} needs a multiple of ${divisor} channels, there are ${channels}`,
  );
  if (reverse !== 0) return [channels / square, height * stride, width * stride];
  need(
    height % stride === 0 && width % stride === 0,
    () => `stride=${stride} must divide height and width of ${mapText(input)}`,
  );
  return [channels * square, height / stride, width / stride];
};

const softmax: ShapeRule<"softmax"> = ({ groups, spatial }, [input]) => {
  const [channels, height, width] = input;
  need(
    (channels * height * width) % groups === 0,
    () => `groups=${groups} must divide the ${channels * height * width} inputs`,
  );
  need(groups === 1 || spatial === 0, () => "spatial=1 works without groups only");
  return input;
};

const yolo: ShapeRule<"yolo"> = ({ num, mask, classes, anchors }, [input]) => {
  const boxes = mask?.length ?? num;
  need(
    input[0] === boxes * (classes + 5),
    () =>
      `${boxes} boxes of classes=${classes} need filters=${boxes * (classes + 5)} before, there are ${input[0]}`,
  );
  for (const index of mask ?? [])
    need(index >= 0 && index < num, () => `mask ${index} must lie from 0 to ${num - 1} (num=${num})`);
  need(
    anchors === undefined || anchors.length >= 2 * num,
    () => `num=${num} needs ${2 * num} numbers in anchors, there are ${anchors?.length}`,
  );
  return input;
};

const region: ShapeRule<"region"> = ({ num, classes, coords, anchors }, [input]) => {
  const filters = num * (classes + coords + 1);
  need(
    input[0] === filters,
    () =>
      `num=${num}, classes=${classes} and coords=${coords} need filters=${filters} before, there are ${input[0]}`,
  );
  need(
    anchors === undefined || anchors.length >= 2 * num,
    () => `num=${num} needs ${2 * num} numbers in anchors, there are ${anchors?.length}`,
  );
  return input;
};

/** The shape of a layer's output. Throws a `ShapeError` when its inputs' shapes do not fit it. */
export function outputShape(section: LayerSection, inputs: readonly [MapShape, ...MapShape[]]): MapShape {
  const [[channels, height, width]] = inputs;
  switch (section.kind) {
    case "convolutional":
      return convolutional(section, inputs);
    case "connected":
      return [section.output, 1, 1];
    case "maxpool":
      return maxpool(section, inputs);
    case "local_avgpool":
      return pooling(section, inputs);
    case "avgpool":
      return [channels, 1, 1];
    case "route":
      return route(section, inputs);
    case "shortcut":
      return shortcut(section, inputs);
    case "sam":
      return sam(section, inputs);
    case "scale_channels":
      return scaleChannels(section, inputs);
    case "upsample":
      return [channels, height * section.stride, width * section.stride];
    case "reorg":
    case "reorg3d":
      return reorg(section, inputs);
    case "softmax":
      return softmax(section, inputs);
    case "yolo":
      return yolo(section, inputs);
    case "region":
      return region(section, inputs);
    case "dropout":
    case "cost":
      return inputs[0];
    default:
      return section satisfies never;
  }
}
