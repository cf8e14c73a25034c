import type { Disk } from "../disk/index.ts";
import { withPath } from "../errors/index.ts";
import {
  type Header,
  MAX_NAME_BYTES,
  type RescuedSnapshots,
  type SnapshotEntry,
  type SnapshotTablePrefix,
  decodeSnapshotTable,
  snapshotTableError,
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

/** What an entry takes that has the longest name: most tables come in one read. */
const USUAL_ENTRY_BYTES = 384;
const MIN_FIRST_PIECE_BYTES = 4 * 1024;
const MAX_FIRST_PIECE_BYTES = 64 * 1024;
/** Entries may be almost as long as that, and what is left of a piece behind them is held with them. */
const PIECE_BYTES = 1024 * 1024;

/** Longer names and ids are no qemu's: a damaged table may have thousands of 64 KiB, and each message would repeat one. */
const LABEL_LENGTH = 64;
const shortened = (text: string, quote: (text: string) => string): string =>
  text.length > LABEL_LENGTH ? `${quote(text.slice(0, LABEL_LENGTH).toWellFormed())}…` : quote(text);

/** A snapshot in the words of a message. What is left out of a long name is marked behind the quotes, where no name reaches. */
export const snapshotLabel = ({ id, name }: Pick<Snapshot, "id" | "name">): string =>
  `snapshot ${shortened(name, JSON.stringify)} (id ${shortened(id, String)})`;

/** The id and the name of an entry, as much as a message or a report needs of them. */
export function shortNames({ id, name }: SnapshotEntry): { readonly id: string; readonly name: string } {
  return { id: shortText(id), name: shortText(name) };
}

const ELLIPSIS = Buffer.from("…");
const SHORT = Buffer.alloc(MAX_NAME_BYTES + ELLIPSIS.length);
SHORT.set(ELLIPSIS, MAX_NAME_BYTES);
const utf8 = new TextDecoder();

/** Decoded with its end: V8 holds a text that was put together twice, in parts and as one, once it is read. */
function shortText(bytes: Uint8Array): string {
  if (bytes.length <= MAX_NAME_BYTES) return utf8.decode(bytes);
  SHORT.set(bytes.subarray(0, MAX_NAME_BYTES));
  return utf8.decode(SHORT);
}

/** Its texts are made when they are asked for: of most snapshots they never are, and a table may hold 64 MiB of names. */
class StoredSnapshot implements Snapshot {
  readonly entry: SnapshotEntry;

  constructor(entry: SnapshotEntry) {
    this.entry = entry;
  }

  get id(): string {
    return utf8.decode(this.entry.id);
  }

  get name(): string {
    return utf8.decode(this.entry.name);
  }
}

export const toSnapshot = (entry: SnapshotEntry): Snapshot => new StoredSnapshot(entry);

/**
 * Reads the snapshot table. Its length is not stored, and what is stored of it
 * may be wrong: it is read in pieces until every entry is there, at most the 64
 * MiB that QEMU allows. With `rescue`, what exceeds its limits, the file, or the
 * bytes of `room`, is left out and told.
 * @throws QcowalError IMAGE_INVALID
 */
export async function readSnapshotTable(
  disk: Disk,
  header: Header,
  rescue = false,
  room = Infinity,
): Promise<SnapshotTable> {
  if (header.rescued?.snapshotTable !== undefined) return lostTable(header.snapshotCount);
  const { problem, entries, ...table } = await read(disk, header, toSnapshot, rescue, room);
  if (problem !== undefined) throw withPath(snapshotTableError(problem), disk.path);
  return { ...table, snapshots: entries };
}

/** The table of a header that counts snapshots, when nobody knows where it is. */
export function lostTable(lost: number): SnapshotTable {
  const rescued: RescuedSnapshots = { cut: 0, lost, lostBehind: "limits", empty: 0 };
  return { snapshots: [], bytes: 0, ...(lost === 0 ? {} : { rescued }) };
}

/**
 * What `keep` makes of each snapshot: of the table nothing else is held.
 * @throws QcowalError IMAGE_INVALID
 */
export async function mapSnapshots<Kept>(
  disk: Disk,
  header: Header,
  keep: (snapshot: Snapshot) => Kept,
): Promise<readonly Kept[]> {
  const { problem, entries } = await read(disk, header, (entry) => keep(toSnapshot(entry)));
  if (problem !== undefined) throw withPath(snapshotTableError(problem), disk.path);
  return entries;
}

/** What `keep` makes of the entries of a table that may be damaged, up to the first one that cannot be read. */
export async function readSnapshotEntries<Kept>(
  disk: Disk,
  header: Header,
  keep: (entry: SnapshotEntry) => Kept,
): Promise<SnapshotTablePrefix<Kept>> {
  return read(disk, header, keep);
}

async function read<Kept>(
  disk: Disk,
  header: Header,
  keep: (entry: SnapshotEntry) => Kept,
  rescue = false,
  most = Infinity,
): Promise<SnapshotTablePrefix<Kept>> {
  if (header.snapshotCount === 0) return { entries: [], bytes: 0, problem: undefined };
  const { clusterSize } = header.geometry;
  // The last cluster may be cut off: what is missing of it reads as zeros.
  const end = rescue ? Math.ceil((await disk.size()) / clusterSize) * clusterSize : Infinity;
  const room = Math.min(end - header.snapshotsOffset, most);
  const decoder = decodeSnapshotTable(header.snapshotCount, rescue, room, keep);
  const expected = Math.max(header.snapshotCount * USUAL_ENTRY_BYTES, MIN_FIRST_PIECE_BYTES);
  const first = Math.min(expected, MAX_FIRST_PIECE_BYTES);
  let piece = new Uint8Array(0);
  let from = 0;
  let step = decoder.next();
  while (step.done !== true) {
    const { at, length } = step.value;
    if (at < from || at + length > from + piece.length) {
      // A new buffer each time: entries are views of it.
      piece = new Uint8Array(Math.max(length, piece.length === 0 ? first : PIECE_BYTES));
      from = at;
      await disk.read(header.snapshotsOffset + from, piece);
    }
    step = decoder.next(piece.subarray(at - from, at - from + length));
  }
  return step.value;
}
