import { ContentBytes, ContentDigest, ContentReader } from "./content.ts";
import { FileBytes } from "./file.ts";
import { NaiveError, parseHeader } from "./header.ts";
import type { NaiveHeader, NaiveOptions } from "./header.ts";
import { parseSnapshots } from "./snapshots.ts";
import type { NaiveSnapshot } from "./snapshots.ts";

export interface RootReport {
  readonly l1Offset: number;
  readonly l1Size: number;
  readonly diskSize: number;
  /** What the guest sees on the disk of this root. */
  readonly contentDigest: string;
  /** Everything mapped above the end of the disk, whatever the recorded size of the VM state. */
  readonly vmAreaDigest: string;
}

export interface SnapshotReport extends RootReport, NaiveSnapshot {
  /** The recorded VM state, `vmStateSize` bytes. */
  readonly vmStateDigest: string;
}

export interface InspectReport {
  readonly header: NaiveHeader;
  readonly fileSize: number;
  readonly active: RootReport;
  /** In table order. */
  readonly snapshots: readonly SnapshotReport[];
}

export function inspectImage(bytes: Uint8Array, options: NaiveOptions = {}): InspectReport {
  const file = new FileBytes(bytes);
  const header = parseHeader(file, options);
  if ((header.incompatible & 4n) !== 0n) throw new NaiveError("the data lies in another file");
  const reader = new ContentReader(file, header);
  const { snapshots } = parseSnapshots(file, header);
  const digest = (l1Offset: number, l1Size: number, start: number, end: number, backing: boolean): string => {
    const sink = new ContentDigest(backing);
    reader.read(l1Offset, l1Size, start, end, sink);
    return sink.finish();
  };
  const vmStart = (diskSize: number): number => {
    const span = header.clusterSize * header.l2Entries;
    return Math.ceil(diskSize / span) * span;
  };
  const root = (l1Offset: number, l1Size: number, diskSize: number): RootReport => {
    const start = vmStart(diskSize);
    const end = lastMappedEnd(file, header, l1Offset, l1Size);
    return {
      l1Offset,
      l1Size,
      diskSize,
      contentDigest: digest(l1Offset, l1Size, 0, diskSize, header.backingName !== null),
      vmAreaDigest: digest(l1Offset, l1Size, start, Math.max(start, end), false),
    };
  };
  return {
    header,
    fileSize: bytes.length,
    active: root(header.l1Offset, header.l1Size, header.virtualSize),
    snapshots: snapshots.map((snapshot) => {
      const { l1Offset, l1Size, diskSize, vmStateSize } = snapshot;
      const start = vmStart(diskSize);
      return {
        ...snapshot,
        ...root(l1Offset, l1Size, diskSize),
        vmStateDigest: digest(l1Offset, l1Size, start, start + vmStateSize, false),
      };
    }),
  };
}

/** Guest offset behind the last L1 entry in use: an L1 table may be longer than needed. */
function lastMappedEnd(file: FileBytes, header: NaiveHeader, l1Offset: number, l1Size: number): number {
  let used = l1Size;
  while (used > 0 && file.u64(l1Offset + (used - 1) * 8) === 0n) used--;
  return used * header.clusterSize * header.l2Entries;
}

/** The bitmaps extension, which names them, while its autoclear bit vouches for them. */
function bitmapsOf({ autoclear, extensions }: NaiveHeader): string {
  const extension = extensions.find(({ type }) => type === 0x23852875);
  return (autoclear & 1n) === 0n ? "" : (extension?.hex ?? "");
}

/**
 * Everything a user could tell apart, and nothing about where it lies: two
 * images with equal logical state are the same before and after an operation.
 */
export function logicalState(report: InspectReport): Record<string, unknown> {
  return {
    virtualSize: report.header.virtualSize,
    content: report.active.contentDigest,
    bitmaps: bitmapsOf(report.header),
    snapshots: report.snapshots.map((snapshot) => ({
      id: snapshot.id,
      name: snapshot.name,
      date: `${snapshot.dateSec}.${snapshot.dateNsec}`,
      vmClock: String(snapshot.vmClockNsec),
      icount: String(snapshot.icount),
      vmStateSize: snapshot.vmStateSize,
      diskSize: snapshot.diskSize,
      unknownExtra: snapshot.unknownExtraHex,
      content: snapshot.contentDigest,
      vmState: snapshot.vmStateDigest,
    })),
  };
}

/** The guest bytes of the active layer, or of the snapshot at a table position. For disks of some MB. */
export function readRoot(
  bytes: Uint8Array,
  which: "active" | number,
  options: NaiveOptions & { readonly backing?: Uint8Array } = {},
): Uint8Array {
  const file = new FileBytes(bytes);
  const header = parseHeader(file, options);
  const root =
    which === "active"
      ? { l1Offset: header.l1Offset, l1Size: header.l1Size, diskSize: header.virtualSize }
      : parseSnapshots(file, header).snapshots[which];
  if (root === undefined) throw new NaiveError(`no snapshot at position ${which}`);
  if (header.backingName !== null && options.backing === undefined) {
    throw new NaiveError("the bytes of the backing file are needed");
  }
  const backing = header.backingName === null ? undefined : options.backing;
  const sink = new ContentBytes(root.diskSize, backing ?? new Uint8Array(0));
  new ContentReader(file, header).read(root.l1Offset, root.l1Size, 0, root.diskSize, sink);
  return sink.bytes;
}
