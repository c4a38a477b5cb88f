/** What a gathered product is: a matrix times an image whose windows are laid side by side. */

/** A tap of the window, in the phases of the gathered image. */
export interface GatherTap {
  /** Which phase plane it reads. */
  readonly phase: number;
  /** Rows and columns further in that plane. */
  readonly shift: readonly [number, number];
}

/** One axis of the image copied into scratch memory. */
export interface GatherAxis {
  readonly extent: number;
  /** Position i of phase a is pixel i · stride + a − before. */
  readonly stride: number;
  readonly before: number;
  /** Positions of one phase that may be read. */
  readonly length: number;
  /** How many outputs, and how far taps reach beyond them. */
  readonly outputs: number;
  readonly reach: number;
}

/** The sizes of a gathered product. Strides in bytes. */
export interface GatherSizes {
  readonly images: number;
  readonly groups: number;
  /** Channels of the gathered image, and rows of the result, per group. */
  readonly channels: number;
  readonly results: number;
  readonly vertical: GatherAxis;
  readonly horizontal: GatherAxis;
  readonly taps: readonly GatherTap[];
  /** Read where it lies: windows of one pixel on planes without gaps. */
  readonly inPlace: boolean;
  readonly source: {
    readonly image: number;
    readonly group: number;
    readonly channel: number;
    readonly row: number;
  };
  readonly target: {
    readonly image: number;
    readonly group: number;
    readonly channel: number;
    readonly row: number;
    readonly column: number;
  };
}
