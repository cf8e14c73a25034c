import type { Disk } from "../../disk/index.ts";
import type { ImageHead } from "../image.ts";
import { isZeros } from "../zeros.ts";
import { tableWords } from "../../format/index.ts";
import type { Findings } from "./findings.ts";
import type { CheckMemory } from "./passes.ts";

/** A mapping of the guest's disk: the active layer, or a snapshot. */
export interface Root {
  /** As findings name it. */
  readonly name: string;
  /** Undefined for the active layer. */
  readonly snapshot?: { readonly id: string; readonly name: string };
  /** Its L1 table. */
  readonly offset: number;
  readonly entries: number;
}

/** What the parts of a check share. */
export interface CheckContext {
  readonly disk: Disk;
  readonly head: ImageHead;
  readonly findings: Findings;
  /** The active layer first. Snapshots whose L1 table cannot be read are left out. */
  readonly roots: readonly Root[];
  readonly snapshotTableBytes: number;
  /** True when the snapshot table was not read to its end: what looks leaked may belong to one of the rest. */
  readonly rootsUnknown: boolean;
  readonly memory: CheckMemory;
  /** For pieces of tables, used again: a damaged image may have 65,536 tables. */
  readonly buffers: Buffer[];
  /** Called between pieces of work; what it throws ends the check. */
  readonly checkpoint: () => void;
}

const PIECE_BYTES = 1024 * 1024;

/**
 * A table of 64-bit entries, in pieces: its length comes from the file and may be
 * anything. Pieces of zeros are left out, because a zero entry says nothing. A
 * piece is valid until the next is asked for.
 */
export async function* readEntries(
  { disk, head, checkpoint, buffers }: CheckContext,
  offset: number,
  entries: number,
): AsyncGenerator<{ readonly first: number; readonly words: Uint32Array }> {
  // What lies behind the end of the file reads as zeros.
  const inFile = Math.min(entries, Math.ceil((head.fileSize - offset) / 8));
  const buffer = buffers.pop() ?? Buffer.allocUnsafeSlow(PIECE_BYTES);
  try {
    for (let first = 0; first < inFile; first += PIECE_BYTES / 8) {
      checkpoint();
      const bytes = buffer.subarray(0, (inFile - first) * 8);
      await disk.read(offset + first * 8, bytes);
      if (!isZeros(bytes)) yield { first, words: tableWords(bytes) };
    }
  } finally {
    buffers.push(buffer);
  }
}
