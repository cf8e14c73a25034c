import { TABLE_KERNEL } from "./table-kernel-code.ts";

/** Four words of a run of entries; see `packTable`. */
export const RUN_WORDS = 4;

/** The largest cluster. */
const MOST_BYTES = 2 ** 21;

/** What `table-kernel.wat` exports. */
interface Exports {
  readonly memory: { readonly buffer: ArrayBuffer };
  readonly table: { readonly value: number };
  readonly runs: { readonly value: number };
  readonly pack: (length: number, stride: bigint, most: number) => number;
  readonly unpack: (count: number) => void;
  readonly mark: (length: number, entrySize: number, isSet: number) => void;
}

/** Passes over the entries of one table that WebAssembly makes, several times as fast as JavaScript. */
export class TableKernel {
  readonly #exports: Exports;
  readonly #table: Uint8Array;
  readonly #runs: Uint32Array;

  constructor(exports: Exports) {
    this.#exports = exports;
    const { buffer } = exports.memory;
    const [table, runs] = [exports.table.value, exports.runs.value];
    this.#table = new Uint8Array(buffer, table, MOST_BYTES);
    this.#runs = new Uint32Array(buffer, runs);
  }

  /** Whether a table of so many bytes fits. */
  fits(length: number): boolean {
    return length <= this.#table.length;
  }

  /** The runs of the entries of 8 bytes, at most `most`; see `packTable`. */
  pack(table: Uint8Array, stride: number, most: number): Uint32Array | undefined {
    this.#table.set(table);
    const count = this.#exports.pack(table.length, BigInt(stride), most);
    return count < 0 ? undefined : this.#runs.slice(0, count * RUN_WORDS);
  }

  /** Fills `table` with the entries of these runs. */
  unpack(runs: Uint32Array, table: Uint8Array): void {
    this.#runs.set(runs);
    this.#exports.unpack(runs.length / RUN_WORDS);
    table.set(this.#table.subarray(0, table.length));
  }

  /** The table with the COPIED flag of each entry set or clear; valid until the next call of any of these. */
  marked(table: Uint8Array, entrySize: 8 | 16, isSet: boolean): Uint8Array {
    this.#table.set(table);
    this.#exports.mark(table.length, entrySize, isSet ? 1 : 0);
    return this.#table.subarray(0, table.length);
  }
}

/** Node's types have none of it. */
interface Assembly {
  readonly Module: new (code: Uint8Array) => object;
  readonly Instance: new (module: object) => { readonly exports: Exports };
}

const assembly = (globalThis as unknown as { readonly WebAssembly: Assembly }).WebAssembly;

let made: TableKernel | undefined;
let isMade = false;

/** Undefined on a processor, or in a process, that has no WebAssembly or no vectors in it. */
export function tableKernel(): TableKernel | undefined {
  if (!isMade) {
    isMade = true;
    try {
      const module = new assembly.Module(Buffer.from(TABLE_KERNEL, "base64"));
      made = new TableKernel(new assembly.Instance(module).exports);
    } catch {
      // The loops in JavaScript do the same.
    }
  }
  return made;
}
