/**
 * The memory that tests of kernels put tensors in: with 64-bit addresses when GRADWEAVE_MEMORY64 is 1, and then beyond
 * all that 32 bits reach. What lies below is never touched, so it takes no memory.
 */
import { type AddressType, webAssembly } from "../../src/backends/cpu/wasm/encoder/index.ts";
import { SharedMemory } from "../../src/backends/cpu/wasm/sharedMemory.ts";

const asked: AddressType = process.env.GRADWEAVE_MEMORY64 === "1" ? "i64" : "i32";

/** @param address the type of its addresses; by default as the environment says */
export function kernelMemory(address = asked): SharedMemory {
  if (!webAssembly) throw new Error("this engine has no WebAssembly");
  const memory = new SharedMemory(webAssembly, undefined, address);
  if (address === "i64") memory.allocateBytes(2 ** 32);
  return memory;
}
