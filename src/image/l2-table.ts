import { type Geometry, type TableEntries, packTable, unpackTable } from "../format/index.ts";
import { isZeros } from "./zeros.ts";

/**
 * An L2 table that was read: valid until the next one is asked for. Its entries are
 * there as runs, as words, and as they are stored: most tables are needed in one of
 * these forms only, and to turn all bytes of a table round takes longer than to look
 * at its runs.
 */
export class L2Table implements TableEntries {
  /** Host offset of the table. */
  readonly offset: number;
  /** All of them are zero. A hostile file names 256 GiB of tables that lie in a hole. */
  readonly isEmpty: boolean;
  readonly #clusterSize: number;
  /** In the order of the file, or in that of the processor. */
  readonly #bytes: Buffer;
  #isStored = true;
  #isFilled: boolean;
  #runs: Uint32Array | undefined;
  #areRunsKnown: boolean;

  private constructor(
    offset: number,
    geometry: Geometry,
    isEmpty: boolean,
    bytes: Buffer,
    runs?: Uint32Array,
  ) {
    this.offset = offset;
    this.isEmpty = isEmpty;
    this.#clusterSize = geometry.clusterSize;
    this.#bytes = bytes;
    this.#isFilled = runs === undefined;
    this.#runs = runs;
    // Extended entries have their subclusters between them.
    this.#areRunsKnown = runs !== undefined || geometry.extendedL2;
  }

  /** `bytes` as they are stored, 4-aligned in their buffer, which it takes over. */
  static read(offset: number, geometry: Geometry, bytes: Buffer): L2Table {
    return new L2Table(offset, geometry, isZeros(bytes), bytes);
  }

  /** One of which `runs` were kept. `scratch` is filled when it is needed. */
  static kept(
    offset: number,
    geometry: Geometry,
    isEmpty: boolean,
    runs: Uint32Array,
    scratch: Buffer,
  ): L2Table {
    return new L2Table(offset, geometry, isEmpty, scratch, runs);
  }

  /** The entries in few runs; undefined where they have many. See `packTable`. */
  get runs(): Uint32Array | undefined {
    if (!this.#areRunsKnown) {
      this.#runs = packTable(this.stored, this.#clusterSize);
      this.#areRunsKnown = true;
    }
    return this.#runs;
  }

  /** (high, low) pairs of the entries. */
  get words(): Uint32Array {
    const { buffer, byteOffset, length } = this.#inOrder(false);
    return new Uint32Array(buffer, byteOffset, length / Uint32Array.BYTES_PER_ELEMENT);
  }

  /** The table as it is in the file. */
  get stored(): Buffer {
    return this.#inOrder(true);
  }

  #inOrder(isStored: boolean): Buffer {
    if (!this.#isFilled && this.#runs !== undefined) unpackTable(this.#runs, this.#bytes);
    this.#isFilled = true;
    // Zeros are zeros in either order.
    if (this.#isStored !== isStored && !this.isEmpty) this.#bytes.swap32();
    this.#isStored = isStored;
    return this.#bytes;
  }
}
