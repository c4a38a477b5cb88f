/**
 * Listeners on what the library does: every op that runs, every gradient piece that crosses an edge.
 * With nobody listening, an op or an edge pays one comparison with zero.
 */
import type { Tensor } from "../tensor/tensor.ts";
import type { Node } from "./node.ts";

/** One op that just ran. */
export interface OpEvent {
  readonly op: string;
  readonly inputs: readonly Tensor[];
  readonly output: Tensor;
  readonly attributes: object;
  readonly modulePath: string;
}

/**
 * One gradient piece on its way from a consumer to a tensor it read, before it is summed with the pieces of
 * the tensor's other consumers: γ(to ← from) = ∂L/∂to through `from` alone.
 */
export interface EdgeEvent {
  /** The consumer that sends the piece. */
  readonly from: Node;
  /** The tensor that receives it. */
  readonly to: Tensor;
  /** Which input of the consumer `to` is. */
  readonly slot: number;
  readonly gradient: Tensor;
  /**
   * Keeps the piece's memory beyond the listener's call, until the function it returns is called, or else as long as
   * the scope that the pass was started in. Only a listener that said `keepsPieces: false` needs it.
   */
  hold(): () => void;
}

/** Sees every op in the order of execution. */
export type OpListener = (event: OpEvent) => void;
/** Sees every piece; a returned tensor replaces it, `null` drops it. */
export type EdgeListener = (event: EdgeEvent) => Tensor | null | undefined;

const opListeners: OpListener[] = [];
const edgeListeners: EdgeListener[] = [];
/** Those of them that may look at a piece after their call. */
const keepingListeners = new Set<EdgeListener>();

function subscribe<Listener>(list: Listener[], listener: Listener): () => void {
  list.push(listener);
  return () => {
    const position = list.indexOf(listener);
    if (position >= 0) list.splice(position, 1);
  };
}

/** Calls `listener` after every op. Returns a function that ends it. */
export function onOp(listener: OpListener): () => void {
  return subscribe(opListeners, listener);
}

export interface EdgeOptions {
  /**
   * Whether the listener may look at a piece after its call. Then every gradient of the pass stays in memory until the
   * scope around it ends, several times what the pass needs; with `false` a piece lives as long as the engine needs
   * it, or as the listener holds it. Default true.
   */
  readonly keepsPieces?: boolean;
}

/**
 * Calls `listener` for every gradient piece, once per consumer and input, before the sum. What it returns replaces
 * the piece for this backward pass; `null` cuts the path. Returns a function that ends it.
 */
export function onEdge(listener: EdgeListener, { keepsPieces = true }: EdgeOptions = {}): () => void {
  // A function of its own for every subscription: the same listener may be there twice.
  const own: EdgeListener = (event) => listener(event);
  if (keepsPieces) keepingListeners.add(own);
  const stop = subscribe(edgeListeners, own);
  return () => {
    keepingListeners.delete(own);
    stop();
  };
}

export function hasOpListeners(): boolean {
  return opListeners.length > 0;
}

export function hasEdgeListeners(): boolean {
  return edgeListeners.length > 0;
}

/** Whether some listener may look at pieces after its call. */
export function hasKeepingEdgeListeners(): boolean {
  return keepingListeners.size > 0;
}

export function emitOp(event: OpEvent): void {
  for (const listener of [...opListeners]) listener(event);
}

/** The piece after every listener had its say; null when one of them cut it. `hold` keeps memory for a listener. */
export function emitEdge(event: Omit<EdgeEvent, "hold">, hold: (piece: Tensor) => () => void): Tensor | null {
  let { gradient } = event;
  for (const listener of [...edgeListeners]) {
    const piece = gradient;
    const answer = listener({ ...event, gradient: piece, hold: () => hold(piece) });
    if (answer === null) return null;
    gradient = answer ?? gradient;
  }
  return gradient;
}
