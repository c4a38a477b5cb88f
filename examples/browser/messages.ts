/** What the page and the worker that trains say to each other. */

/** From the page: train these two networks. */
export interface Start {
  readonly backend: "webgpu" | "cpu";
  readonly steps: number;
  readonly batchSize: number;
  readonly seed: number;
  /** Bytes 0 to 255, `[count, 28, 28]`, and a label for each. */
  readonly images: Uint8Array;
  readonly labels: Uint8Array;
}

export type NetworkName = "DenseNet" | "CSPDenseNet";

/** How alike the pieces of gradient at one feature map are. */
export interface Similarity {
  readonly stage: string;
  /** `0''`, `2`, `T` */
  readonly map: string;
  readonly consumers: readonly string[];
  readonly cosine: readonly (readonly (number | null)[])[];
}

/** From the worker. */
export type News =
  | { readonly kind: "device"; readonly text: string }
  | { readonly kind: "step"; readonly network: NetworkName; readonly step: number; readonly loss: number }
  | {
      readonly kind: "similarity";
      readonly network: NetworkName;
      readonly step: number;
      readonly maps: readonly Similarity[];
    }
  | { readonly kind: "done"; readonly milliseconds: number }
  | { readonly kind: "failed"; readonly text: string };
