/**
 * Which vector instructions the kernels use, and V8's experimental flags for wider ones: asked for before the first
 * kernel is compiled, tested by a self-check, dropped with one warning when it fails.
 *
 *     --experimental-wasm-relaxed-simd   fused multiply-add in Node 20: 45 instead of 31 GFLOP/s on one core
 *     --experimental-wasm-revectorize    pairs of vectors become 256 bits wide from V8 13 (Node 24) on x64: 87
 *
 * A flag counts for the whole process, for everything that V8 compiles later, also on other threads.
 */

import type { BackendInfo, EngineFlag, SimdLevel } from "../../backend.ts";
import { SettingError } from "../settingError.ts";
import { warnOnce } from "../warnOnce.ts";
import {
  type AddressType,
  enableRelaxedSimd,
  type RelaxedSimd,
  relaxedSimdFlag,
  setV8Flag,
  type WebAssemblyEngine,
} from "./encoder/index.ts";
import { selfCheck } from "./selfCheck.ts";

const revectorizeFlag = "--experimental-wasm-revectorize";

/** What the kernels may use, and how that came about. */
export interface SimdSetup {
  readonly level: SimdLevel;
  /** Whether a · b + c may be rounded once. */
  readonly fused: boolean;
  /** Whether V8 makes pairs of vectors into vectors of 256 bits. */
  readonly revectorised: boolean;
  readonly relaxedSimd: RelaxedSimd;
  readonly flags: readonly EngineFlag[];
  readonly selfCheck: BackendInfo["selfCheck"];
}

export interface SimdOptions {
  /** False sets no experimental V8 flag. Default: true, unless GRADWEAVE_V8_FLAGS is `off`. */
  readonly v8Flags?: boolean;
  /** The type of the memory's addresses. V8 makes no wider vectors of what it loads from "i64". Default "i32". */
  readonly address?: AddressType;
  /** Replaces the self-check. */
  readonly check?: typeof selfCheck;
}

function areFlagsWanted(): boolean {
  const text = typeof process === "undefined" ? undefined : process.env?.GRADWEAVE_V8_FLAGS;
  if (text === undefined || text === "" || text === "on") return true;
  if (text === "off") return false;
  throw new SettingError(`cpu: GRADWEAVE_V8_FLAGS is ${JSON.stringify(text)}; it may be on or off`);
}

/** V8 13 has the flag, and the instructions only on x64; to others it is unknown. */
function canRevectorise(): boolean {
  if (typeof process === "undefined" || process.arch !== "x64") return false;
  return Number.parseInt(process.versions?.v8 ?? "0", 10) >= 13;
}

/** Decides, for an engine that has SIMD and shared memory. */
export function setUpSimd(
  engine: WebAssemblyEngine,
  { v8Flags = areFlagsWanted(), address = "i32", check = selfCheck }: SimdOptions = {},
): SimdSetup {
  const relaxedSimd = enableRelaxedSimd({ v8Flags });
  const states = new Map<string, EngineFlag["state"]>();
  if (relaxedSimd === "by flag") states.set(relaxedSimdFlag, "accepted");
  if (canRevectorise() && address === "i32")
    states.set(revectorizeFlag, v8Flags && setV8Flag(revectorizeFlag) ? "accepted" : "refused");
  let fused = relaxedSimd === "built in" || relaxedSimd === "by flag";
  const passes = () => check(engine, fused, v8Flags, address);

  let passed = passes();
  const dropped: string[] = [];
  for (const flag of [revectorizeFlag, relaxedSimdFlag]) {
    if (passed || states.get(flag) !== "accepted") continue;
    if (flag === relaxedSimdFlag) fused = false;
    else setV8Flag(flag.replace("--", "--no-"));
    states.set(flag, "dropped");
    dropped.push(flag);
    passed = passes();
  }
  if (dropped.length > 0 && passed)
    warnOnce(
      `V8 computed wrong numbers with ${dropped.join(" and ")}, which is off now; training runs slower. ` +
        "Set GRADWEAVE_V8_FLAGS=off to silence this, and please report it with your Node version",
    );
  const revectorised = states.get(revectorizeFlag) === "accepted";
  const level = revectorised ? "revectorised" : fused ? "relaxed" : "simd128";
  return {
    level: passed ? level : "none",
    fused,
    revectorised,
    relaxedSimd,
    flags: [...states].map(([name, state]) => ({ name, state })),
    selfCheck: passed ? "passed" : "failed",
  };
}
