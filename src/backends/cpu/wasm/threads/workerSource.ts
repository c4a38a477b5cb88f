/**
 * What a worker thread runs, as plain JavaScript in a string: the same from TypeScript sources, from `dist` and inside
 * a bundle, with no file to be found at run time and nothing that a transpiler could add helpers to.
 */
import { chunkBits, number, slot, slots, word } from "./control.ts";

/** Functions of one compiled module, as workers are told of them: the i-th name has the number `firstId + i`. */
export interface ModuleMessage {
  readonly firstId: number;
  readonly names: readonly string[];
  readonly compiled: object;
}

/** What a worker says when a range function has thrown: `unreachable in normalise`. */
export interface FailureMessage {
  readonly error: string;
  readonly functionName: string;
}

export const workerSource = `"use strict";
const { workerData, receiveMessageOnPort } = require("node:worker_threads");
const { words, numbers, memory, port, thread, spinMilliseconds } = workerData;
const word = ${JSON.stringify(word)};
const slot = ${JSON.stringify(slot)};
const number = ${JSON.stringify(number)};
const slots = ${slots};
const chunkMask = ${(1 << chunkBits) - 1};
const functions = [];
const functionNames = [];
const pause = Atomics.pause ?? (() => {});

/** Modules are announced before the first command that uses them. */
function find(id) {
  while (!functions[id]) {
    const received = receiveMessageOnPort(port);
    if (!received) throw new Error("function " + id + " was never announced");
    const { firstId, names, compiled } = received.message;
    const { exports } = new WebAssembly.Instance(compiled, { env: { memory } });
    names.forEach((name, i) => {
      functionNames[firstId + i] = name;
      functions[firstId + i] = exports[name];
    });
  }
  return functions[id];
}

function report(error, id) {
  port.postMessage({ error: String(error), functionName: functionNames[id] ?? "a kernel" });
  Atomics.add(words, word.failures, 1);
}

/** The first word of a command's slot. */
const firstOf = (command) => word.slots + slot.words * (command & (slots - 1));

/** How many chunks of a command nobody has claimed; a slot that holds another one by now has none of it. */
function chunksLeft(command) {
  const claims = Atomics.load(words, firstOf(command) + slot.claims);
  return (claims ^ (command << ${chunkBits})) & ~chunkMask ? 0 : claims & chunkMask;
}

/** Works on a command until all its chunks are claimed. */
function work(command) {
  const first = firstOf(command);
  const claims = first + slot.claims;
  const tag = command << ${chunkBits};
  // Read while the command may end and be replaced: only what is claimed below makes these numbers count.
  const items = words[first + slot.items];
  const size = words[first + slot.itemsPerChunk];
  const chunks = words[first + slot.chunks];
  const share = words[first + slot.share];
  const given = number.numbers * (command & (slots - 1));
  const scratch = numbers[given + number.scratch] + thread * numbers[given + number.scratchStride];
  const begins = given + number.arguments;
  const args = numbers.slice(begins, begins + words[first + slot.argumentCount]);
  const id = words[first + slot.functionId];
  let run;
  try {
    run = find(id);
  } catch (error) {
    report(error, id);
    // The main thread will throw: the rest is done without work.
    run = () => {};
  }
  for (let left = chunksLeft(command); left > 0; left = chunksLeft(command)) {
    // As claimOf in control.ts.
    const claimed = Math.max(1, Math.floor(left / share));
    if (Atomics.compareExchange(words, claims, tag | left, tag | (left - claimed)) !== (tag | left)) continue;
    const begin = (chunks - left) * size;
    try {
      run(begin, Math.min(items, begin + claimed * size), scratch, ...args);
    } catch (error) {
      report(error, id);
    }
    if (Atomics.add(words, first + slot.done, claimed) + claimed < chunks) continue;
    Atomics.store(words, first + slot.finished, command);
    Atomics.add(words, word.changes, 1);
    if (Atomics.load(words, word.sleeping) > 0) Atomics.notify(words, word.changes);
  }
}

/** Whether all commands that a command waits for are done. */
function isReady(command) {
  const waitsFor = words[firstOf(command) + slot.waitsFor];
  for (let i = 0; waitsFor >> i; i++) {
    const before = (command - i - 1) | 0;
    if ((waitsFor >> i) & 1 && ((Atomics.load(words, firstOf(before) + slot.finished) - before) | 0) < 0) return false;
  }
  return true;
}

/** Watches \`changes\` until it is not what it was, asleep after a while. */
function waitForChange(changes) {
  const end = performance.now() + spinMilliseconds;
  for (let turn = 1; turn % 64 !== 0 || performance.now() < end; turn++) {
    if (Atomics.load(words, word.changes) !== changes) return;
    pause();
  }
  Atomics.add(words, word.sleeping, 1);
  Atomics.wait(words, word.changes, changes);
  Atomics.sub(words, word.sleeping, 1);
}

/** The oldest command that may have chunks left. */
let next = (Atomics.load(words, word.posted) + 1) | 0;
Atomics.add(words, word.ready, 1);

/** Works on the oldest command that has chunks left and need not wait; false where there is none. */
function workOnOldest() {
  const posted = Atomics.load(words, word.posted);
  // What a thread has missed altogether is done: the ring would hold it otherwise.
  const oldest = (posted - slots + 1) | 0;
  if (((oldest - next) | 0) > 0) next = oldest;
  for (let command = next; ((posted - command) | 0) >= 0; command = (command + 1) | 0) {
    if (chunksLeft(command) === 0) {
      if (command === next) next = (next + 1) | 0;
    } else if (isReady(command)) {
      work(command);
      return true;
    }
  }
  return false;
}

for (;;) {
  const changes = Atomics.load(words, word.changes);
  if (!workOnOldest()) waitForChange(changes);
}
`;
