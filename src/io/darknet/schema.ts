/**
 * What each section of a cfg may hold, with Darknet's defaults (parse_* in its parser.c). Keys keep the file's names.
 * A key that is not listed is refused, and so is one that would change what the layer computes and is not supported.
 */
import { z } from "zod";
import { activationNames } from "./activationNames.ts";
import { count, flag, integer, integers, oneOf, real, realFrom, reals, unsupported, word } from "./fields.ts";

const activation = (fallback: (typeof activationNames)[number]) => oneOf(activationNames).default(fallback);

const optionalReal = () => real().optional();

/** Optional keys that are kept and change no output. */
const kept = <Name extends string>(...names: Name[]): Record<Name, ReturnType<typeof optionalReal>> =>
  Object.fromEntries(names.map((name) => [name, optionalReal()])) as Record<
    Name,
    ReturnType<typeof optionalReal>
  >;
const off = () => unsupported("0").optional();

/** What any layer may say about its training. */
const everyLayer = {
  ...kept(
    "learning_rate",
    "clip",
    "onlyforward",
    "dont_update",
    "burnin_update",
    "stopbackward",
    "train_only_bn",
  ),
  dontload: off(),
  dontloadscales: off(),
};

/** Of one layer, or of [net]. */
const layer = <Shape extends z.core.$ZodShape>(shape: Shape) => z.object({ ...shape, ...everyLayer });

const pooling = {
  stride: count().default(1),
  stride_x: count().optional(),
  stride_y: count().optional(),
  /** Default: the stride. */
  size: count().optional(),
  /** Both margins together. Default: size - 1. */
  padding: integer(0).optional(),
};

export const netSchema = z.object({
  batch: count().default(1),
  subdivisions: count().default(1),
  height: integer(0).default(0),
  width: integer(0).default(0),
  channels: integer(0).default(0),
  /** For networks without an image: as many channels of 1 x 1. */
  inputs: count().optional(),
  learning_rate: real().default(0.001),
  momentum: real().default(0.9),
  decay: real().default(0.0001),
  max_batches: integer(0).default(0),
  burn_in: integer(0).default(0),
  policy: oneOf(["constant", "random", "poly", "step", "steps", "exp", "sigmoid", "sgdr"]).default(
    "constant",
  ),
  power: real().default(4),
  step: integer().default(1),
  scale: real().default(1),
  gamma: real().default(1),
  steps: integers().optional(),
  scales: reals().optional(),
  seq_scales: reals().optional(),
  ...kept("learning_rate_min", "sgdr_cycle", "sgdr_mult", "time_steps", "track", "augment_speed"),
  ...kept("sequential_subdivisions", "try_fix_nan", "weights_reject_freq", "equidistant_point", "ema_alpha"),
  ...kept("badlabels_rejection_percentage", "num_sigmas_reject_badlabels", "use_cuda_graph", "loss_scale"),
  ...kept("dynamic_minibatch", "optimized_memory", "workspace_size_limit_MB", "adam", "B1", "B2", "eps"),
  ...kept(
    "max_crop",
    "min_crop",
    "flip",
    "blur",
    "gaussian_noise",
    "mixup",
    "cutmix",
    "mosaic",
    "letter_box",
  ),
  ...kept("mosaic_bound", "contrastive", "contrastive_jit_flip", "contrastive_color", "unsupervised"),
  ...kept(
    "label_smooth_eps",
    "resize_step",
    "attention",
    "adversarial_lr",
    "max_chart_loss",
    "angle",
    "aspect",
  ),
  ...kept("saturation", "exposure", "hue", "show_receptive_field"),
});

const boxes = {
  classes: count().default(20),
  num: count().default(1),
  max: count().default(200),
  anchors: reals().optional(),
  jitter: real().default(0.2),
  random: real().default(0),
  map: word().optional(),
  ...kept("resize", "focal_loss"),
};

export const layerSchemas = {
  convolutional: layer({
    filters: count().default(1),
    groups: count().default(1),
    size: count().default(1),
    stride: count().default(1),
    stride_x: count().optional(),
    stride_y: count().optional(),
    dilation: count().default(1),
    /** Not 0: the margin is half the size, whatever `padding` says. */
    pad: flag().default(0),
    padding: integer(0).default(0),
    batch_normalize: integer(0, 1).default(0),
    activation: activation("logistic"),
    ...kept("grad_centr", "angle", "stream", "wait_stream"),
    ...{
      antialiasing: off(),
      assisted_excitation: off(),
      cbn: off(),
      binary: off(),
      xnor: off(),
      bin_output: off(),
    },
    ...{ sway: off(), rotate: off(), stretch: off(), stretch_sway: off(), flipped: off(), dot: off() },
    ...{ reverse: off(), coordconv: off(), share_index: unsupported("-1000000000").optional() },
  }),
  connected: layer({
    output: count().default(1),
    batch_normalize: integer(0, 1).default(0),
    activation: activation("logistic"),
  }),
  maxpool: layer({
    ...pooling,
    /** Not 0: the largest over channels that lie `out_channels` apart, instead of over a window. */
    maxpool_depth: flag().default(0),
    out_channels: count().default(1),
    ...{ antialiasing: off(), maxpool_zero_nonmax: off() },
  }),
  local_avgpool: layer(pooling),
  avgpool: layer({}),
  route: layer({
    layers: integers(),
    groups: count().default(1),
    group_id: integer(0).default(0),
    ...kept("stream", "wait_stream"),
  }),
  shortcut: layer({
    from: integers(),
    activation: activation("linear"),
    weights_type: unsupported("none").optional(),
    weights_normalization: unsupported("none").optional(),
  }),
  sam: layer({ from: integer(), activation: activation("linear") }),
  scale_channels: layer({ from: integer(), scale_wh: flag().default(0), activation: activation("linear") }),
  upsample: layer({ stride: count().default(2), scale: real().default(1) }),
  reorg: layer({ stride: count().default(1), reverse: flag().default(0) }),
  reorg3d: layer({ stride: count().default(1), reverse: flag().default(0) }),
  dropout: layer({
    probability: realFrom(0, 1).default(0.2),
    dropblock: off(),
    ...kept("dropblock_size_rel", "dropblock_size_abs"),
  }),
  softmax: layer({
    groups: count().default(1),
    temperature: realFrom(1e-6, 1e6).default(1),
    /** Not 0: over the channels of each pixel, instead of over everything. */
    spatial: flag().default(0),
    noloss: flag().default(0),
    tree: unsupported("0").optional(),
  }),
  cost: layer({
    type: oneOf(["sse", "masked", "smooth", "L1", "seg", "wgan"]).default("sse"),
    scale: real().default(1),
    ratio: real().default(0),
    ...kept("noobj_scale", "noadjust", "thresh"),
  }),
  yolo: layer({
    ...boxes,
    /** Which of the anchors; all `num` when not given. */
    mask: integers().optional(),
    ignore_thresh: real().default(0.5),
    truth_thresh: real().default(1),
    iou_loss: oneOf(["mse", "iou", "giou", "diou", "ciou"]).default("mse"),
    iou_thresh_kind: oneOf(["iou", "giou", "diou", "ciou"]).default("iou"),
    nms_kind: oneOf(["default", "greedynms", "diounms", "cornersnms"]).default("default"),
    scale_x_y: real().default(1),
    new_coords: flag().default(0),
    counters_per_class: integers().optional(),
    ...kept("show_details", "max_delta", "label_smooth_eps", "objectness_smooth", "iou_normalizer"),
    ...kept(
      "obj_normalizer",
      "cls_normalizer",
      "delta_normalizer",
      "uc_normalizer",
      "beta_nms",
      "iou_thresh",
    ),
    ...kept("track_history_size", "sim_thresh", "dets_for_track", "dets_for_show", "track_ciou_norm"),
    embedding_layer: integer().optional(),
  }),
  region: layer({
    ...boxes,
    coords: count().default(4),
    softmax: flag().default(0),
    thresh: real().default(0.5),
    coord_scale: real().default(1),
    object_scale: real().default(1),
    noobject_scale: real().default(1),
    mask_scale: real().default(1),
    class_scale: real().default(1),
    tree: word().optional(),
    ...kept("log", "sqrt", "rescore", "classfix", "absolute", "bias_match", "background"),
  }),
};

export type LayerType = keyof typeof layerSchemas;

/** [net]: the input's shape, and how Darknet would train. */
export type NetSection = z.output<typeof netSchema> & { readonly kind: "net"; readonly line: number };

/** One layer's section: its `kind`, its keys under the file's names, and the line where it starts. */
export type LayerSection = {
  readonly [Type in LayerType]: z.output<(typeof layerSchemas)[Type]> & {
    readonly kind: Type;
    readonly line: number;
  };
}[LayerType];

/** The layers of one type. */
export type SectionOf<Type extends LayerType> = Extract<LayerSection, { readonly kind: Type }>;
