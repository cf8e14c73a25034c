import { type Disk, allEnded } from "../disk/index.ts";
import { type BytePatch, SECTOR_SIZE } from "../format/index.ts";
import { type Inspection, type Reader, foreign, mixture } from "./inspection.ts";
import type { HeaderIntent } from "./intent.ts";

/** The intent that undoes `intent`. */
export function reversed(intent: HeaderIntent): HeaderIntent {
  return {
    kind: "header",
    patches: intent.patches.map(({ offset, before, after }) => ({ offset, before: after, after: before })),
  };
}

const inFirstSector = ({ offset, after }: BytePatch): boolean => offset + after.length <= SECTOR_SIZE;

/**
 * Patches that reach past the first sector are cut there: what lies in the
 * first sector must change in the one atomic write with the rest of it.
 */
function split(patches: readonly BytePatch[]): { first: BytePatch[]; behind: BytePatch[] } {
  const first: BytePatch[] = [];
  const behind: BytePatch[] = [];
  for (const patch of patches) {
    const cut = SECTOR_SIZE - patch.offset;
    if (inFirstSector(patch)) first.push(patch);
    else if (cut <= 0) behind.push(patch);
    else {
      first.push({ ...patch, before: patch.before.slice(0, cut), after: patch.after.slice(0, cut) });
      behind.push({
        offset: SECTOR_SIZE,
        before: patch.before.slice(cut),
        after: patch.after.slice(cut),
      });
    }
  }
  return { first, behind };
}

/** Writes what lies behind the first sector, then the first sector in one write. */
export async function applyHeader(disk: Disk, intent: HeaderIntent): Promise<void> {
  const { first, behind } = split(intent.patches);
  const writeBehind = async (): Promise<void> => {
    for (const { offset, after } of behind) await disk.write(offset, after);
  };
  const sector = new Uint8Array(SECTOR_SIZE);
  await allEnded([disk.read(0, sector), writeBehind()]);
  for (const { offset, after } of first) sector.set(after, offset);
  await disk.write(0, sector);
}

/** The patches cut at sectors, by the sector's number. */
function bySector(patches: readonly BytePatch[]): Map<number, BytePatch[]> {
  const sectors = new Map<number, BytePatch[]>();
  for (const { offset, before, after } of patches) {
    for (let at = 0; at < after.length;) {
      const sector = Math.floor((offset + at) / SECTOR_SIZE);
      const end = Math.min(after.length, (sector + 1) * SECTOR_SIZE - offset);
      const pieces = sectors.get(sector) ?? [];
      pieces.push({ offset: offset + at, before: before.subarray(at, end), after: after.subarray(at, end) });
      sectors.set(sector, pieces);
      at = end;
    }
  }
  return sectors;
}

/** A range that widens to all that is put into it. */
class Span {
  #start = Infinity;
  #end = -Infinity;

  add(at: number): void {
    this.#start = Math.min(this.#start, at);
    this.#end = Math.max(this.#end, at + 1);
  }

  get isEmpty(): boolean {
    return this.#end < this.#start;
  }

  get asForeign(): Inspection {
    return foreign(this.#start, this.#end - this.#start);
  }
}

/**
 * A sector is written whole or not at all: all the bytes that an intent changes
 * in it are as before or all as after. Undefined when the intent changes none of
 * them, and so cannot be told from the sector.
 */
async function inspectSector(disk: Reader, pieces: readonly BytePatch[]): Promise<Inspection | undefined> {
  let isBefore = true;
  let isAfter = true;
  const odd = new Span();
  const changed = new Span();
  for (const { offset, before, after } of pieces) {
    const found = new Uint8Array(after.length);
    await disk.read(offset, found);
    for (const [index, byte] of found.entries()) {
      const [was, will] = [before[index], after[index]];
      if (byte !== was) isBefore = false;
      if (byte !== will) isAfter = false;
      if (byte !== was && byte !== will) odd.add(offset + index);
      if (was !== will) changed.add(offset + index);
    }
  }
  if (!isBefore && !isAfter) {
    // Each byte may be one of the two and their mixture still be nobody's: then which of them was written is not known.
    return odd.isEmpty ? changed.asForeign : odd.asForeign;
  }
  if (isBefore && isAfter) return undefined;
  return { state: isBefore ? "before" : "after" };
}

export async function inspectHeader(disk: Reader, intent: HeaderIntent): Promise<Inspection> {
  let before = false;
  let after = false;
  for (const pieces of bySector(intent.patches).values()) {
    const inspection = await inspectSector(disk, pieces);
    if (inspection?.state === "foreign") return inspection;
    if (inspection?.state === "before") before = true;
    else if (inspection?.state === "after") after = true;
  }
  return mixture(before, after);
}
