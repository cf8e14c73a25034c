import type { FileBytes } from "./file.ts";
import { NaiveError } from "./header.ts";
import type { NaiveHeader } from "./header.ts";

export interface NaiveSnapshot {
  readonly position: number;
  readonly id: string;
  readonly name: string;
  readonly dateSec: number;
  readonly dateNsec: number;
  readonly vmClockNsec: bigint;
  readonly vmStateSize: number;
  /** All ones where none is recorded. */
  readonly icount: bigint;
  /** The image's current virtual size where none is recorded. */
  readonly diskSize: number;
  readonly l1Offset: number;
  readonly l1Size: number;
  readonly extraSize: number;
  readonly unknownExtraHex: string;
}

export interface SnapshotTable {
  readonly snapshots: readonly NaiveSnapshot[];
  /** Bytes from its start to the end of the last entry, without padding. */
  readonly size: number;
}

export function parseSnapshots(file: FileBytes, header: NaiveHeader): SnapshotTable {
  const { snapshotCount, snapshotsOffset } = header;
  if (snapshotCount > 65536) throw new NaiveError("snapshot table too large");
  if (snapshotCount > 0 && snapshotsOffset >= file.bytes.length) {
    throw new NaiveError("snapshot table beyond the end of the file");
  }
  const snapshots: NaiveSnapshot[] = [];
  let end = snapshotsOffset;
  for (let position = 0; position < snapshotCount; position++) {
    const at = Math.ceil(end / 8) * 8;
    const idLength = file.u16(at + 12);
    const nameLength = file.u16(at + 14);
    const extraSize = file.u32(at + 36);
    if (extraSize > 1024) throw new NaiveError(`snapshot ${position} has too much extra data`);
    const extra = at + 40;
    const id = extra + extraSize;
    snapshots.push({
      position,
      id: file.text(id, idLength),
      name: file.text(id + idLength, nameLength),
      dateSec: file.u32(at + 16),
      dateNsec: file.u32(at + 20),
      vmClockNsec: file.u64(at + 24),
      vmStateSize: extraSize >= 8 ? file.number64(extra) : file.u32(at + 32),
      diskSize: extraSize >= 16 ? file.number64(extra + 8) : header.virtualSize,
      icount: extraSize >= 24 ? file.u64(extra + 16) : 0xffff_ffff_ffff_ffffn,
      l1Offset: file.number64(at),
      l1Size: file.u32(at + 8),
      extraSize,
      unknownExtraHex: extraSize > 24 ? file.hex(extra + 24, extraSize - 24) : "",
    });
    end = id + idLength + nameLength;
    if (end - snapshotsOffset > 64 * 1024 * 1024) throw new NaiveError("snapshot table too large");
  }
  return { snapshots, size: end - snapshotsOffset };
}
