import { type FillIntent, fillFrom } from "../intent/index.ts";
import type { ReceivedContent, ReceivedPiece } from "./received-content.ts";

/** Of one fill: each of those that are written side by side has a buffer of that length. */
const FILL_BYTES = 1024 * 1024;

/** New clusters of guest data: those that lie in a row in the file are written at once, wherever they are on the disk. */
export class ReceivedData {
  readonly fills: FillIntent[] = [];
  readonly #content: ReceivedContent;
  readonly #clusterSize: number;
  readonly #scratch: Uint8Array;
  #host = 0;
  #length = 0;
  #pieces: ReceivedPiece[] = [];

  constructor(content: ReceivedContent, clusterSize: number) {
    this.#content = content;
    this.#clusterSize = clusterSize;
    this.#scratch = new Uint8Array(Math.max(FILL_BYTES, clusterSize));
  }

  /** Host and guest offset of a cluster; on the disk they ascend. */
  async add(host: number, offset: number, isWhole: boolean): Promise<void> {
    if (host !== this.#host + this.#length || this.#length === this.#scratch.length) await this.#flush(host);
    this.#length += this.#clusterSize;
    const last = this.#pieces.at(-1);
    if (last?.isWhole === isWhole && last.offset + last.length === offset) {
      this.#pieces[this.#pieces.length - 1] = { ...last, length: last.length + this.#clusterSize };
    } else this.#pieces.push({ offset, length: this.#clusterSize, isWhole });
  }

  /** Nothing may be added any more. */
  async finish(): Promise<readonly FillIntent[]> {
    await this.#flush(0);
    return this.fills;
  }

  async #flush(next: number): Promise<void> {
    const pieces = this.#pieces;
    if (this.#length > 0) {
      const scratch = this.#scratch.subarray(0, this.#length);
      this.fills.push(await fillFrom(this.#host, scratch, (target) => this.#content.read(pieces, target)));
    }
    this.#host = next;
    this.#length = 0;
    this.#pieces = [];
  }
}
