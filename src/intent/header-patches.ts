import type { Disk } from "../disk/index.ts";
import { type BytePatch, SECTOR_SIZE } from "../format/index.ts";
import type { HeaderIntent, IntentState } from "./intent.ts";

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
  for (const { offset, after } of behind) await disk.write(offset, after);
  const sector = new Uint8Array(SECTOR_SIZE);
  await disk.read(0, sector);
  for (const { offset, after } of first) sector.set(after, offset);
  await disk.write(0, sector);
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

/** Each sector of a patch was written whole or not at all, so each is judged alone. */
export async function inspectHeader(disk: Disk, intent: HeaderIntent): Promise<IntentState> {
  const seen = new Set<"before" | "after">();
  for (const { offset, before, after } of intent.patches) {
    for (let at = offset; at < offset + after.length;) {
      const end = Math.min(offset + after.length, (Math.floor(at / SECTOR_SIZE) + 1) * SECTOR_SIZE);
      const found = new Uint8Array(end - at);
      await disk.read(at, found);
      const was = before.subarray(at - offset, end - offset);
      const will = after.subarray(at - offset, end - offset);
      at = end;
      if (equal(was, will)) continue;
      if (equal(found, will)) seen.add("after");
      else if (equal(found, was)) seen.add("before");
      else return "foreign";
    }
  }
  if (seen.size === 2) return "torn";
  return seen.has("before") ? "before" : "after";
}
