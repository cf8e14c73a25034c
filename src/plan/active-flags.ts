import { type Geometry, isUnalignedZero } from "../format/index.ts";
import { type Image, type L1Table, SortedOffsets, TablePass, readL1Table } from "../image/index.ts";
import type { IntentList } from "../intent/index.ts";
import { copiedInL1, copiedInL2, decideL1Flags } from "./copied-intents.ts";
import { FoundFlags } from "./found-flags.ts";
import type { RefcountChanges } from "./refcount-changes.ts";

/** COPIED flags of the active layer that do not say what the refcounts will. */
export interface WrongFlags {
  readonly clear: readonly IntentList[];
  readonly set: readonly IntentList[];
  readonly clearFlags: number;
  readonly setFlags: number;
  /** Host offset of the first table that has some; undefined without any. */
  readonly first: number | undefined;
  /** The same of flags that clear. */
  readonly firstClear: number | undefined;
}

/** Compares the flags of the active layer with the refcounts, window after window. */
export class ActiveFlags {
  readonly #geometry: Geometry;
  readonly #l1: L1Table;
  readonly #l1Flags: Uint8Array;
  readonly #pass: TablePass;
  readonly #leavesOut: boolean;
  readonly #inL1 = { clear: new FoundFlags(), set: new FoundFlags() };
  readonly #inL2 = { clear: new FoundFlags(), set: new FoundFlags() };

  private constructor(image: Image, l1: L1Table, pass: TablePass, leavesOut: boolean) {
    this.#geometry = image.header.geometry;
    this.#l1 = l1;
    this.#l1Flags = new Uint8Array(l1.entries);
    this.#pass = pass;
    this.#leavesOut = leavesOut;
  }

  /** With `leavesOut`, there are entries that read as zeros and keep a cluster at an odd place: those are left out. */
  static async of(image: Image, leavesOut: boolean, onTable?: () => void): Promise<ActiveFlags> {
    const { disk, header } = image;
    const l1 = await readL1Table(disk, header.geometry, {
      offset: header.l1TableOffset,
      entries: header.l1Size,
    });
    const pass = new TablePass(image, SortedOffsets.of(l1.targets), onTable);
    return new ActiveFlags(image, l1, pass, leavesOut);
  }

  /** Compares the flags of entries that lead into the window, when everything in it is counted. */
  async compare(changes: RefcountChanges): Promise<void> {
    decideL1Flags(changes, this.#l1, this.#l1Flags);
    for await (const table of this.#pass.tables(changes.stored)) {
      const without = this.#leavesOut ? unalignedZeros(this.#geometry, table.words) : undefined;
      copiedInL2(changes, table, this.#inL2, without);
    }
  }

  /** When every window is compared. */
  wrong(): WrongFlags {
    const [l1, l2] = [this.#inL1, this.#inL2];
    copiedInL1(this.#geometry, this.#l1, this.#l1Flags, l1);
    const places = [l1.clear, l2.clear, l1.set, l2.set].map(({ first }) => first);
    return {
      clear: [l1.clear.intents, l2.clear.intents],
      set: [l1.set.intents, l2.set.intents],
      clearFlags: l1.clear.flags + l2.clear.flags,
      setFlags: l1.set.flags + l2.set.flags,
      first: places.find((first) => first !== Infinity),
      firstClear: places.slice(0, 2).find((first) => first !== Infinity),
    };
  }
}

/** Entries of an L2 table that read as zeros and keep a cluster at an odd place, ascending. */
export function unalignedZeros(geometry: Geometry, words: Uint32Array): number[] {
  const found: number[] = [];
  const step = geometry.l2EntrySize / 4;
  for (let at = 0; at < words.length; at += step) {
    if (isUnalignedZero(geometry, words[at] ?? 0, words[at + 1] ?? 0)) found.push(at / step);
  }
  return found;
}
