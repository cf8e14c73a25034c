import { type Header, MAX_L1_ENTRIES, type SnapshotEntry } from "../../format/index.ts";
import type { Disk } from "../../disk/index.ts";
import { readSnapshotEntries, shortNames, snapshotLabel } from "../snapshots.ts";
import type { Root } from "./context.ts";
import { type Findings, hex } from "./findings.ts";

/** Nobody reads behind this. */
const LAST_OFFSET = 2n ** 63n - 2n ** 31n;
const TABLE = "snapshot table";

/** Its name is made when it is asked for: a finding asks, and there may be 65,536 snapshots. */
class SnapshotRoot implements Root {
  readonly snapshot: { readonly id: string; readonly name: string };
  readonly offset: number;
  readonly entries: number;

  constructor(snapshot: { readonly id: string; readonly name: string }, offset: number, entries: number) {
    this.snapshot = snapshot;
    this.offset = offset;
    this.entries = entries;
  }

  get name(): string {
    return snapshotLabel(this.snapshot);
  }
}

/** What a check needs of an entry. The table itself, up to 64 MiB, is not held. */
const keptOf = (entry: SnapshotEntry) => ({
  snapshot: shortNames(entry),
  l1TableOffset: entry.l1TableOffset,
  l1Size: entry.l1Size,
  isIncomplete: entry.diskSize === undefined,
});

/**
 * The roots of an image. A snapshot with an L1 table that QEMU would refuse is a
 * corruption and left out, as in `qemu-img check`: its clusters then look leaked.
 */
export async function checkRoots(
  disk: Disk,
  header: Header,
  findings: Findings,
): Promise<{
  readonly roots: readonly Root[];
  readonly snapshotTableBytes: number;
  readonly rootsUnknown: boolean;
}> {
  const roots: Root[] = [{ name: "active layer", offset: header.l1TableOffset, entries: header.l1Size }];
  const { entries, bytes, problem } = await readSnapshotEntries(disk, header, keptOf);
  const at = { where: TABLE, offset: header.snapshotsOffset };
  if (problem !== undefined) findings.add("error", "structures", () => ({ ...at, what: problem }));
  if (header.externalDataFile && header.snapshotCount > 0) {
    findings.add("corruption", "structures", () => ({
      ...at,
      what: `${header.snapshotCount} snapshots in image with data file`,
    }));
  }
  let rootsUnknown = problem !== undefined;
  for (const [index, entry] of entries.entries()) {
    const { snapshot, l1TableOffset, l1Size } = entry;
    const owner = (): string => snapshotLabel(snapshot);
    // Without a disk size it is shorter than the 16 bytes that version 3 asks for.
    if (header.geometry.version === 3 && entry.isIncomplete) {
      findings.add("corruption", "structures", () => ({
        ...at,
        owner: owner(),
        what: `entry ${index} is incomplete`,
      }));
    }
    if (header.externalDataFile) continue;
    const unfit = l1Problem(header, l1TableOffset, l1Size);
    if (unfit !== undefined) {
      findings.add("corruption", "structures", () => ({
        ...at,
        owner: owner(),
        what: `entry ${index}: ${unfit}`,
      }));
    } else if (l1Size > 0 && l1TableOffset > LAST_OFFSET) {
      rootsUnknown = true;
      const what = `entry ${index}: the L1 table at 0x${l1TableOffset.toString(16)} cannot be read`;
      findings.add("error", "structures", () => ({ ...at, owner: owner(), what }));
    } else {
      const offset = Number(l1TableOffset);
      roots.push(new SnapshotRoot(snapshot, offset, l1Size));
    }
  }
  return { roots, snapshotTableBytes: bytes, rootsUnknown };
}

function l1Problem({ geometry }: Header, offset: bigint, entries: number): string | undefined {
  if (offset % BigInt(geometry.clusterSize) !== 0n) {
    return `L1 table at ${hex(Number(offset))} is not cluster aligned`;
  }
  return entries > MAX_L1_ENTRIES ? `L1 table is too large (${entries} entries)` : undefined;
}
