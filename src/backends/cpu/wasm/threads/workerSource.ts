/**
 * What a worker thread runs, as plain JavaScript in a string: the same from TypeScript sources, from `dist` and inside
 * a bundle, with no file to be found at run time and nothing that a transpiler could add helpers to.
 */
import { chunkBits, number, word } from "./control.ts";

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
const number = ${JSON.stringify(number)};
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

function work(epoch) {
  const tag = epoch << ${chunkBits};
  const open = () => {
    const claims = Atomics.load(words, word.claims);
    return (claims ^ tag) & ~chunkMask ? 0 : claims & chunkMask;
  };
  if (open() === 0) return;
  // Read while the command may end and be replaced: only what is claimed below makes these numbers count.
  const items = words[word.items];
  const size = words[word.itemsPerChunk];
  const chunks = words[word.chunks];
  const share = words[word.share];
  const scratch = numbers[number.scratch] + thread * numbers[number.scratchStride];
  const given = numbers.slice(number.arguments, number.arguments + words[word.argumentCount]);
  const id = words[word.functionId];
  let run;
  try {
    run = find(id);
  } catch (error) {
    report(error, id);
    return;
  }
  for (let left = open(); left > 0; left = open()) {
    // As claimOf in control.ts.
    const claimed = Math.max(1, Math.floor(left / share));
    if (Atomics.compareExchange(words, word.claims, tag | left, tag | (left - claimed)) !== (tag | left)) continue;
    const begin = (chunks - left) * size;
    try {
      run(begin, Math.min(items, begin + claimed * size), scratch, ...given);
    } catch (error) {
      report(error, id);
    }
    Atomics.add(words, word.done, claimed);
    if (Atomics.load(words, word.mainSleeps)) Atomics.notify(words, word.done);
  }
}

let seen = Atomics.load(words, word.epoch);
Atomics.add(words, word.ready, 1);
for (;;) {
  const end = performance.now() + spinMilliseconds;
  for (let turn = 1; Atomics.load(words, word.epoch) === seen; turn++) {
    pause();
    if (turn % 64 !== 0 || performance.now() < end) continue;
    Atomics.add(words, word.sleeping, 1);
    Atomics.wait(words, word.epoch, seen);
    Atomics.sub(words, word.sleeping, 1);
  }
  seen = Atomics.load(words, word.epoch);
  work(seen);
}
`;
