import { PackedIntents } from "../intent/index.ts";

/** Runs of one intent: few, as they are objects again when it is carried out. */
const MAX_RUNS = 2048;

/** The freed clusters as runs of bytes. Behind the end of the file is nothing to give back. */
export class Discards {
  readonly #clusterSize: number;
  /** Clusters of the file. */
  readonly #end: number;
  readonly #intents = new PackedIntents();
  #runs: [offset: number, length: number][] = [];
  #clusters = 0;

  constructor(clusterSize: number, fileSize: number) {
    this.#clusterSize = clusterSize;
    this.#end = Math.ceil(fileSize / clusterSize);
  }

  /** Clusters that are freed, those behind the end of the file too. */
  get clusters(): number {
    return this.#clusters;
  }

  /** Runs come in ascending order. */
  add(first: number, count: number): void {
    this.#clusters += count;
    const length = (Math.min(first + count, this.#end) - first) * this.#clusterSize;
    if (length <= 0) return;
    const last = this.#runs.at(-1);
    const offset = first * this.#clusterSize;
    if (last !== undefined && last[0] + last[1] === offset) {
      last[1] += length;
      return;
    }
    if (this.#runs.length === MAX_RUNS) this.#close();
    this.#runs.push([offset, length]);
  }

  /** Nothing may be added any more. */
  intents(): PackedIntents {
    this.#close();
    return this.#intents;
  }

  #close(): void {
    if (this.#runs.length > 0) this.#intents.push({ kind: "discard", runs: this.#runs });
    this.#runs = [];
  }
}
