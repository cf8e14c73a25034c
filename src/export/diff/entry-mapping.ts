import { QcowalError } from "../../errors/index.ts";
import {
  type Geometry,
  entryOffset,
  isCompressed,
  isUnalignedZero,
  isZeroFlagged,
  l2EntryProblem,
} from "../../format/index.ts";

export type MappedKind = "data" | "compressed" | "zero" | "unallocated";

const SUBCLUSTERS = 32;

/** Parts of a cluster that are mapped each for itself. */
export const partsOf = ({ extendedL2 }: Geometry): number => (extendedL2 ? SUBCLUSTERS : 1);

/** What one L2 entry says of its guest cluster, part by part. Used again for the next one, so that millions allocate nothing. */
export class EntryMapping {
  readonly #geometry: Geometry;
  readonly #words: number;
  #kind: MappedKind = "unallocated";
  #allocated = 0;
  #zero = 0;
  /** Where the cluster lies; 0 for none. */
  hostOffset = 0;

  constructor(geometry: Geometry) {
    this.#geometry = geometry;
    this.#words = geometry.l2EntrySize / 4;
  }

  /**
   * Takes an entry of a table; without a table nothing is mapped.
   * @throws QcowalError IMAGE_INVALID for an entry that says nothing sensible
   */
  take(table: Uint32Array | undefined, index: number, guestOffset: number): void {
    const at = index * this.#words;
    const high = table?.[at] ?? 0;
    const low = table?.[at + 1] ?? 0;
    this.hostOffset = 0;
    this.#allocated = 0;
    this.#zero = 0;
    if (isCompressed(high)) {
      this.#kind = "compressed";
      return;
    }
    if (isUnalignedZero(this.#geometry, high, low)) {
      this.#kind = "zero";
      return;
    }
    const problem = l2EntryProblem(this.#geometry, high, low);
    if (problem !== undefined) throw invalid(guestOffset, problem);
    this.hostOffset = entryOffset(high, low);
    if (!Number.isSafeInteger(this.hostOffset)) throw invalid(guestOffset, "its cluster is out of range");
    if (isZeroFlagged(this.#geometry, low)) this.#kind = "zero";
    else this.#kind = this.hostOffset === 0 ? "unallocated" : "data";
    if (this.#geometry.extendedL2) this.#takeBitmaps(table?.[at + 2] ?? 0, table?.[at + 3] ?? 0, guestOffset);
  }

  #takeBitmaps(zero: number, allocated: number, guestOffset: number): void {
    if ((zero & allocated) !== 0)
      throw invalid(guestOffset, "a subcluster is said to be both data and zeros");
    if (allocated !== 0 && this.hostOffset === 0) {
      throw invalid(guestOffset, "subclusters are said to be data, but there is no cluster");
    }
    this.#zero = zero;
    this.#allocated = allocated;
  }

  kindAt(part: number): MappedKind {
    if (!this.#geometry.extendedL2 || this.#kind === "compressed") return this.#kind;
    const bit = 1 << part;
    if ((this.#zero & bit) !== 0) return "zero";
    return (this.#allocated & bit) === 0 ? "unallocated" : "data";
  }
}

function invalid(guestOffset: number, problem: string): QcowalError {
  return new QcowalError(
    "IMAGE_INVALID",
    `The L2 entry of the guest's cluster at 0x${guestOffset.toString(16)} is invalid: ${problem}. Nothing was changed; 'qcowal check' says more.`,
  );
}
