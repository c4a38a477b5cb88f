/** Photographs: files of any common format as pixels, decoded by the optional package sharp. */
import type { Sharp, SharpOptions } from "sharp";
import { DataError } from "./errors.ts";
import { readWholeFile } from "./files.ts";

/** An image of three colours. */
export interface Photograph {
  readonly width: number;
  readonly height: number;
  /** [height, width, 3], red, green, blue of 0..255. */
  readonly pixels: Uint8Array;
}

/** More than a camera takes; a file of some bytes can claim billions. */
const mostPixels = 2 ** 28;

type Decoder = (bytes: Uint8Array, options: SharpOptions) => Sharp;

async function loadDecoder(): Promise<Decoder> {
  try {
    // Not a literal: type-checks and bundles without the package.
    const name = "sharp";
    const { default: decoder }: { readonly default: Decoder } = await import(/* @vite-ignore */ name);
    return decoder;
  } catch (cause) {
    throw new DataError(
      "photographs need the optional package sharp, which does not load here; npm install sharp",
      { cause },
    );
  }
}

let decoder: Promise<Decoder> | null = null;

/**
 * Decodes an image file (JPEG, PNG, WebP, GIF, TIFF, AVIF), whatever its name says; grey becomes three equal colours,
 * transparency is dropped. Throws a DataError for what is no image, is damaged, or claims more than 2^28 pixels.
 */
export async function decodePhotograph(bytes: Uint8Array, name = "image"): Promise<Photograph> {
  decoder ??= loadDecoder();
  const decode = await decoder;
  try {
    const { data, info } = await decode(bytes, { limitInputPixels: mostPixels, failOn: "truncated" })
      .toColourspace("srgb")
      .removeAlpha()
      .raw()
      .toBuffer({ resolveWithObject: true });
    if (info.channels !== 3) throw new Error(`has ${info.channels} colours`);
    return { width: info.width, height: info.height, pixels: data };
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new DataError(`${name}: cannot be decoded as an image (${reason}); try another copy`, { cause });
  }
}

/** The same for a file. Throws a DataError that names it. */
export async function readPhotograph(path: string): Promise<Photograph> {
  return decodePhotograph(await readWholeFile(path), path);
}
