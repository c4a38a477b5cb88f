/**
 * What a cfg means: for every layer which layers it reads, its shapes, and the numbers that a weights file holds for
 * it. Computed without a tensor, so that a network of absurd size is refused before anything is allocated.
 */
import type { DarknetCfg } from "./cfg.ts";
import { DarknetError } from "./error.ts";
import type { LayerSection } from "./schema.ts";
import { type MapShape, mapText, outputShape, ShapeError } from "./shapes.ts";

/** One layer of a planned network. */
export interface LayerPlan<Section extends LayerSection = LayerSection> {
  /** From 0, as Darknet counts; [net] is none. */
  readonly index: number;
  readonly section: Section;
  /** The layers it reads; -1 is the network's input. The layer before comes first where the section reads it. */
  readonly inputs: readonly number[];
  /** Of its inputs, in their order. */
  readonly inputShapes: readonly [MapShape, ...MapShape[]];
  readonly outputShape: MapShape;
}

export interface NetworkPlan {
  /** Of the images, by [net]. */
  readonly inputShape: MapShape;
  readonly layers: readonly LayerPlan[];
}

export interface PlanLimits {
  /** Numbers in one image's feature map. Default 2^28, 1 GiB as f32; yolov4 at 608 x 608 needs 2^24.6. */
  readonly featureMap?: number;
  /** Weights of the whole network. Default 2^30, 4 GiB as f32; the largest public networks have 2^28. */
  readonly weights?: number;
}

/** How many weights (without biases and norms) a layer has. */
export function weightCount({
  section,
  inputShapes: [[channels, height, width]],
}: Omit<LayerPlan, "outputShape">): number {
  if (section.kind === "convolutional")
    return section.filters * (channels / section.groups) * section.size * section.size;
  return section.kind === "connected" ? section.output * channels * height * width : 0;
}

const absolute = (index: number, layer: number) => (layer < 0 ? index + layer : layer);

/** The layers that a section reads, where negative ones count back from itself. */
function inputsOf(section: LayerSection, index: number): number[] {
  const before = index - 1;
  switch (section.kind) {
    case "route":
      return section.layers.map((layer) => absolute(index, layer));
    case "shortcut":
      return [before, ...section.from.map((layer) => absolute(index, layer))];
    case "sam":
    case "scale_channels":
      return [before, absolute(index, section.from)];
    default:
      return [before];
  }
}

/** Layers whose output in Darknet is something else than a feature map. */
const ends = new Set(["yolo", "region", "cost"]);

function checkInputs(
  section: LayerSection,
  index: number,
  inputs: readonly number[],
  earlier: readonly LayerPlan[],
): void {
  const place = { line: section.line, section: section.kind };
  inputs.forEach((layer, slot) => {
    // Of all sections only those that name layers can miss; the layer before is the input at the start.
    if (layer >= index || layer < -1 || (layer === -1 && (slot > 0 || section.kind === "route")))
      throw new DarknetError(
        `layer ${index} cannot read layer ${layer}; it must be one of the layers before it, ${index === 0 ? "and there are none" : `0 to ${index - 1}`}`,
        place,
      );
    const kind = earlier[layer]?.section.kind;
    if (kind !== undefined && ends.has(kind))
      throw new DarknetError(
        `layer ${index} reads layer ${layer}, a [${kind}], which gives no feature map`,
        place,
      );
  });
}

function netShape({ net }: DarknetCfg): MapShape {
  const { channels, height, width, inputs } = net;
  const given = [channels, height, width];
  if (given.every((extent) => extent > 0)) return [channels, height, width];
  if (inputs !== undefined && given.every((extent) => extent === 0)) return [inputs, 1, 1];
  throw new DarknetError(
    `channels=${channels}, height=${height} and width=${width} must all be given and above 0 (or inputs alone)`,
    { line: net.line, section: "net" },
  );
}

/**
 * Resolves the layers of a cfg. Throws a `DarknetError` with line and section where a layer reads one that is not
 * before it (so that circles cannot be), where shapes do not fit, and where a feature map or the weights exceed the
 * limits.
 */
export function planNetwork(cfg: DarknetCfg, limits: PlanLimits = {}): NetworkPlan {
  const { featureMap = 2 ** 28, weights = 2 ** 30 } = limits;
  const inputShape = netShape(cfg);
  const layers: LayerPlan[] = [];
  let total = 0;
  const checkSize = (shape: MapShape, line: number, section: string) => {
    const size = shape[0] * shape[1] * shape[2];
    if (!(size <= featureMap))
      throw new DarknetError(
        `a feature map of ${mapText(shape)} has ${size} numbers, more than the limit of ${featureMap}; ` +
          "pass limits.featureMap if it is meant",
        { line, section },
      );
  };
  checkSize(inputShape, cfg.net.line, "net");
  cfg.layers.forEach((section, index) => {
    const place = { line: section.line, section: section.kind };
    const inputs = inputsOf(section, index);
    checkInputs(section, index, inputs, layers);
    const [first, ...rest] = inputs.map((layer) => layers[layer]?.outputShape ?? inputShape);
    const read = { index, section, inputs, inputShapes: [first, ...rest] as const };
    try {
      const shape = outputShape(section, read.inputShapes);
      checkSize(shape, section.line, section.kind);
      layers.push({ ...read, outputShape: shape });
    } catch (error) {
      if (error instanceof ShapeError) throw new DarknetError(`layer ${index}: ${error.message}`, place);
      throw error;
    }
    total += weightCount(read);
    if (!(total <= weights))
      throw new DarknetError(
        `up to layer ${index} the network has ${total} weights, more than the limit of ${weights}; pass limits.weights if it is meant`,
        place,
      );
  });
  return { inputShape, layers };
}
