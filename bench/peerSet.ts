/** The processes of the libraries that a table compares, started when they are first asked for. */
import { messageOf, type OpenPeer } from "./alternate.ts";
import { isThreaded, Peer, type PeerName } from "./peers/peer.ts";

export class PeerSet {
  readonly #open = new Map<string, OpenPeer>();

  /** The library's process with so many threads. A library without threads has one process, with one thread. */
  async get(name: PeerName, threads: number): Promise<OpenPeer> {
    const count = isThreaded(name) ? threads : 1;
    const key = `${name} ${count}`;
    const known = this.#open.get(key);
    if (known) return known;
    let peer: OpenPeer;
    try {
      peer = await Peer.open(name, count);
    } catch (error) {
      peer = { peer: name, threads: count, reason: messageOf(error) };
      console.error(`${name} is left out: ${peer.reason}`);
    }
    this.#open.set(key, peer);
    return peer;
  }

  /** All of them, in order. */
  async all(names: readonly PeerName[], threads: number): Promise<OpenPeer[]> {
    const peers: OpenPeer[] = [];
    for (const name of names) peers.push(await this.get(name, threads));
    return peers;
  }

  async close(): Promise<void> {
    for (const peer of this.#open.values()) if (peer instanceof Peer) await peer.close();
    this.#open.clear();
  }
}
