import type { Disk } from "../disk/index.ts";
import { QcowalError } from "../errors/index.ts";
import {
  type DecodedSnapshotTable,
  type Header,
  MAX_SNAPSHOT_TABLE_BYTES,
  type RescuedSnapshots,
  type SnapshotEntry,
  decodeSnapshotTable,
  decodeSnapshotTablePrefix,
} from "../format/index.ts";

/** A snapshot as stored, with its id and name as text. */
export interface Snapshot {
  readonly entry: SnapshotEntry;
  readonly id: string;
  readonly name: string;
}

export interface SnapshotTable {
  readonly snapshots: readonly Snapshot[];
  /** Length of the stored table in bytes; 0 without snapshots, where the header's offset refers to nothing. */
  readonly bytes: number;
  /** What a rescue left out of a table that exceeds QEMU's limits. */
  readonly rescued?: RescuedSnapshots;
}

const FIRST_READ_BYTES = 64 * 1024;

export function toSnapshot(entry: SnapshotEntry): Snapshot {
  const decoder = new TextDecoder();
  return { entry, id: decoder.decode(entry.id), name: decoder.decode(entry.name) };
}

/**
 * Reads the snapshot table. Its length is not stored: it is read in growing
 * pieces until every entry is there, at most the 64 MiB that QEMU allows.
 * With `rescue`, what exceeds its limits is left out and told.
 * @throws QcowalError IMAGE_INVALID
 */
export async function readSnapshotTable(disk: Disk, header: Header, rescue = false): Promise<SnapshotTable> {
  if (header.rescued?.snapshotTable !== undefined) return lostTable(header.snapshotCount);
  return readGrowing(disk, header, (bytes, count) => decodeSnapshotTable(bytes, count, rescue));
}

/** Nobody knows where it is. */
function lostTable(lost: number): SnapshotTable {
  return { snapshots: [], bytes: 0, ...(lost === 0 ? {} : { rescued: { cut: 0, lost, empty: 0 } }) };
}

/** The snapshots of a table that may be damaged, up to the first entry that cannot be read. */
export async function readSnapshotTablePrefix(
  disk: Disk,
  header: Header,
): Promise<SnapshotTable & { readonly problem: string | undefined }> {
  let problem: string | undefined;
  const table = await readGrowing(disk, header, (bytes, count) => {
    const decoded = decodeSnapshotTablePrefix(bytes, count);
    problem = decoded?.problem;
    return decoded;
  });
  return { ...table, problem };
}

async function readGrowing(
  disk: Disk,
  header: Header,
  decode: (bytes: Uint8Array, count: number) => DecodedSnapshotTable | undefined,
): Promise<SnapshotTable> {
  if (header.snapshotCount === 0) return { snapshots: [], bytes: 0 };
  for (let length = FIRST_READ_BYTES; ; length *= 4) {
    const bytes = new Uint8Array(Math.min(length, 2 * MAX_SNAPSHOT_TABLE_BYTES));
    await disk.read(header.snapshotsOffset, bytes);
    const table = decode(bytes, header.snapshotCount);
    if (table !== undefined) {
      const { entries, ...rest } = table;
      return { ...rest, snapshots: entries.map(toSnapshot) };
    }
    if (bytes.length === 2 * MAX_SNAPSHOT_TABLE_BYTES) {
      throw new QcowalError("IMAGE_INVALID", `${disk.path}: snapshot table is too big. Nothing was changed.`);
    }
  }
}
