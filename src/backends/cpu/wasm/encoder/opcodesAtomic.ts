/**
 * Instructions for threads that share a memory, as data; `opcodes.ts` says how to read a row.
 *
 * Addresses must be aligned to the size of the access, or the instruction traps. `rmw` gives the old value back.
 * `wait32` takes (address, expected, timeout in nanoseconds, negative for ever) and gives 0 when woken, 1 when the
 * value was another, 2 after the timeout; a browser's main thread may not wait. `notify` takes (address, how many at
 * most) and gives how many it woke.
 */
import type { OpcodeRow } from "./opcodes.ts";

export const atomicOpcodes = {
  "memory.atomic.notify": [0xfe, 0x00, "i32 i32", "i32", "memory4"],
  "memory.atomic.wait32": [0xfe, 0x01, "i32 i32 i64", "i32", "memory4"],
  "memory.atomic.wait64": [0xfe, 0x02, "i32 i64 i64", "i32", "memory8"],
  "atomic.fence": [0xfe, 0x03, "", "", "zero"],
  "i32.atomic.load": [0xfe, 0x10, "i32", "i32", "memory4"],
  "i32.atomic.store": [0xfe, 0x17, "i32 i32", "", "memory4"],
  "i32.atomic.rmw.add": [0xfe, 0x1e, "i32 i32", "i32", "memory4"],
  "i32.atomic.rmw.sub": [0xfe, 0x25, "i32 i32", "i32", "memory4"],
  "i32.atomic.rmw.and": [0xfe, 0x2c, "i32 i32", "i32", "memory4"],
  "i32.atomic.rmw.or": [0xfe, 0x33, "i32 i32", "i32", "memory4"],
  "i32.atomic.rmw.xor": [0xfe, 0x3a, "i32 i32", "i32", "memory4"],
  "i32.atomic.rmw.xchg": [0xfe, 0x41, "i32 i32", "i32", "memory4"],
  "i32.atomic.rmw.cmpxchg": [0xfe, 0x48, "i32 i32 i32", "i32", "memory4"],
  "i64.atomic.load": [0xfe, 0x11, "i32", "i64", "memory8"],
  "i64.atomic.store": [0xfe, 0x18, "i32 i64", "", "memory8"],
  "i64.atomic.rmw.add": [0xfe, 0x1f, "i32 i64", "i64", "memory8"],
  "i64.atomic.rmw.sub": [0xfe, 0x26, "i32 i64", "i64", "memory8"],
  "i64.atomic.rmw.and": [0xfe, 0x2d, "i32 i64", "i64", "memory8"],
  "i64.atomic.rmw.or": [0xfe, 0x34, "i32 i64", "i64", "memory8"],
  "i64.atomic.rmw.xor": [0xfe, 0x3b, "i32 i64", "i64", "memory8"],
  "i64.atomic.rmw.xchg": [0xfe, 0x42, "i32 i64", "i64", "memory8"],
  "i64.atomic.rmw.cmpxchg": [0xfe, 0x49, "i32 i64 i64", "i64", "memory8"],
} as const satisfies Readonly<Record<string, OpcodeRow>>;
