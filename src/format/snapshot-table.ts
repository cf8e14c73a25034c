import { QcowalError, invariant } from "../errors/index.ts";
import { layout, readField, readField64, writeField } from "./layout.ts";
import { MAX_SNAPSHOTS, MAX_SNAPSHOT_EXTRA_BYTES, MAX_SNAPSHOT_TABLE_BYTES } from "./limits.ts";
import { roundUp } from "./units.ts";

/** Fixed part of a snapshot table entry; extra data, id and name follow, then padding to 8. */
const ENTRY = layout(40, [
  ["l1TableOffset", 8],
  ["l1Size", 4],
  ["idSize", 2],
  ["nameSize", 2],
  ["dateSec", 4],
  ["dateNsec", 4],
  ["vmClockNsec", 8],
  ["vmStateSize", 4],
  ["extraSize", 4],
]);
const ENTRY_BYTES = 40;
const ENTRY_ALIGNMENT = 8;

/** Known extra data. Each field counts only if the entry's extra data reaches its end. */
const EXTRA = layout(24, [
  ["vmStateSizeLarge", 8],
  ["diskSize", 8],
  ["icount", 8],
]);
const KNOWN_EXTRA_BYTES = 24;
const NO_ICOUNT = 0xffff_ffff_ffff_ffffn;

/** One entry of the snapshot table, as stored. 64-bit facts that we never compute with stay bigint. */
export interface SnapshotEntry {
  readonly l1TableOffset: bigint;
  readonly l1Size: number;
  readonly id: Uint8Array;
  readonly name: Uint8Array;
  readonly dateSec: number;
  readonly dateNsec: number;
  readonly vmClockNsec: bigint;
  readonly vmStateSize: bigint;
  /** Undefined in old entries, where it means the image's virtual size today. */
  readonly diskSize: bigint | undefined;
  /** Undefined (stored as all ones, or not stored) without record/replay. */
  readonly icount: bigint | undefined;
  /** Extra data behind the fields we know, kept byte for byte. */
  readonly unknownExtra: Uint8Array;
}

export interface DecodedSnapshotTable<Kept = SnapshotEntry> {
  readonly entries: readonly Kept[];
  /** Bytes from the table's start to the end of its last entry, without padding. */
  readonly bytes: number;
  /** What a rescue had to leave out; undefined when that was nothing. */
  readonly rescued?: RescuedSnapshots;
}

export interface RescuedSnapshots {
  /** Entries of which extra data was cut off, because QEMU reads no more of it. */
  readonly cut: number;
  /** Entries at the end that lie behind all that QEMU reads, or behind the end of the file. */
  readonly lost: number;
  /** What ends before them: QEMU's limits, or the room that there is for the table. */
  readonly lostBehind: "limits" | "room";
  /** Entries at the end that say nothing, of a table that is said to have more than QEMU reads. */
  readonly empty: number;
}

/** As much of a table as keeps QEMU's limits, and what is wrong with the entry behind it. */
export interface SnapshotTablePrefix<Kept = SnapshotEntry> extends DecodedSnapshotTable<Kept> {
  readonly problem: string | undefined;
}

/** Bytes of the table that are wanted next, counted from its start. What lies behind the end of the file is zeros. */
export interface WantedBytes {
  readonly at: number;
  readonly length: number;
}

/**
 * Decodes `count` entries of a table that may be damaged: it asks for the bytes
 * that it needs, a few at a time, because lengths in it may claim anything. Of
 * each entry it holds what `keep` makes of it: 64 MiB of names are held by those
 * alone who need them. It ends before the first entry that exceeds a limit of QEMU's; with `rescue`, what
 * exceeds one is left out and told, and so is what does not begin and end in the
 * `room` bytes that there are for the table.
 */
export function* decodeSnapshotTable<Kept>(
  count: number,
  rescue: boolean,
  room: number,
  keep: (entry: SnapshotEntry) => Kept,
): Generator<WantedBytes, SnapshotTablePrefix<Kept>, Uint8Array> {
  const table = new RescuedTable(count, keep);
  let tableEnd = 0;
  for (let index = 0; index < count; index += 1) {
    const start = roundUp(tableEnd, ENTRY_ALIGNMENT);
    // Of more than any table has, those that say nothing are none, wherever they would be.
    if (rescue && start >= room && count <= MAX_SNAPSHOTS) return table.upTo(index, true);
    const head = yield { at: start, length: ENTRY_BYTES };
    // A damaged header may count 65,536 of these, and more.
    if (start + ENTRY_BYTES <= MAX_SNAPSHOT_TABLE_BYTES && isEmpty(head)) {
      tableEnd = start + ENTRY_BYTES;
      table.addEmpty(tableEnd);
      if (table.isOver) return table.upTo(index + 1);
      continue;
    }
    const extraSize = readField(head, ENTRY.extraSize);
    const isOversized = extraSize > MAX_SNAPSHOT_EXTRA_BYTES;
    if (isOversized && !rescue) {
      return table.prefix(`Too much extra metadata in snapshot table entry ${index}`);
    }
    const idSize = readField(head, ENTRY.idSize);
    const namesAt = start + ENTRY_BYTES + extraSize;
    const end = namesAt + idSize + readField(head, ENTRY.nameSize);
    if (end > MAX_SNAPSHOT_TABLE_BYTES) {
      if (!rescue) return table.prefix("Snapshot table is too big");
      return table.upTo(index);
    }
    if (rescue && end > room) return table.upTo(index, true);
    if (index >= MAX_SNAPSHOTS) table.addLost();
    else {
      const extra = yield {
        at: start + ENTRY_BYTES,
        length: Math.min(extraSize, MAX_SNAPSHOT_EXTRA_BYTES),
      };
      const names = yield { at: namesAt, length: end - namesAt };
      const entry = entryOf(head, extra, names.subarray(0, idSize), names.subarray(idSize));
      table.add(end, entry, isOversized);
    }
    tableEnd = end;
  }
  return table.upTo(count);
}

/** An entry without id, name and L1 table, and without anything else: no snapshot has one. */
function isEmpty(head: Uint8Array): boolean {
  for (let at = 0; at < head.length; at += 1) if (head[at] !== 0) return false;
  return true;
}

/** The entries of a table, as far as they can be kept. */
class RescuedTable<Kept> {
  readonly #count: number;
  readonly #keep: (entry: SnapshotEntry) => Kept;
  readonly #entries: Kept[] = [];
  /** Behind the last entry that says something, and behind the last of all. */
  #filled = { entries: 0, bytes: 0 };
  #bytes = 0;
  #cut = 0;
  #lost = 0;
  /** Entries in a row, up to now, that say nothing. */
  #emptyBehind = 0;

  constructor(count: number, keep: (entry: SnapshotEntry) => Kept) {
    this.#count = count;
    this.#keep = keep;
  }

  /** More than any table has of nothing: what is behind it is nothing too. */
  get isOver(): boolean {
    return this.#emptyBehind > MAX_SNAPSHOTS;
  }

  add(end: number, entry: SnapshotEntry, isCut: boolean): void {
    this.#entries.push(this.#keep(entry));
    this.#bytes = end;
    this.#filled = { entries: this.#entries.length, bytes: end };
    this.#emptyBehind = 0;
    if (isCut) this.#cut += 1;
  }

  addEmpty(end: number): void {
    this.#emptyBehind += 1;
    if (this.#entries.length >= MAX_SNAPSHOTS) return;
    this.#entries.push(this.#keep(EMPTY));
    this.#bytes = end;
  }

  addLost(): void {
    this.#emptyBehind = 0;
    this.#lost += 1;
  }

  prefix(problem: string): SnapshotTablePrefix<Kept> {
    return { entries: this.#entries, bytes: this.#bytes, problem };
  }

  /** The table, of which `read` entries were read; `isCutOff` when its room ends there. */
  upTo(read: number, isCutOff = false): SnapshotTablePrefix<Kept> {
    // Of so many that QEMU reads none, those at the end that say nothing are no snapshots.
    const isTrimmed = this.#count > MAX_SNAPSHOTS;
    const unread = this.#count - read;
    const lost = this.#lost + (isTrimmed && this.#emptyBehind > 0 && !isCutOff ? 0 : unread);
    const kept =
      isTrimmed && lost === 0 ? this.#filled : { entries: this.#entries.length, bytes: this.#bytes };
    const rescued: RescuedSnapshots = {
      cut: this.#cut,
      lost,
      lostBehind: isCutOff ? "room" : "limits",
      empty: isTrimmed ? this.#count - lost - kept.entries : 0,
    };
    return {
      entries: this.#entries.slice(0, kept.entries),
      bytes: kept.bytes,
      problem: undefined,
      ...(rescued.cut + lost + rescued.empty === 0 ? {} : { rescued }),
    };
  }
}

/** The error for a table whose entries cannot all be had. */
export const snapshotTableError = (problem: string): QcowalError =>
  new QcowalError("IMAGE_INVALID", `${problem}. Nothing was changed; 'qcowal repair' may mend it.`);

function entryOf(head: Uint8Array, extra: Uint8Array, id: Uint8Array, name: Uint8Array): SnapshotEntry {
  const known = (field: { offset: number; size: 1 | 2 | 4 | 8 }): bigint | undefined =>
    extra.length >= field.offset + field.size ? readField64(extra, field) : undefined;
  const icount = known(EXTRA.icount);
  return {
    l1TableOffset: readField64(head, ENTRY.l1TableOffset),
    l1Size: readField(head, ENTRY.l1Size),
    id,
    name,
    dateSec: readField(head, ENTRY.dateSec),
    dateNsec: readField(head, ENTRY.dateNsec),
    vmClockNsec: readField64(head, ENTRY.vmClockNsec),
    vmStateSize: known(EXTRA.vmStateSizeLarge) ?? BigInt(readField(head, ENTRY.vmStateSize)),
    diskSize: known(EXTRA.diskSize),
    icount: icount === NO_ICOUNT ? undefined : icount,
    unknownExtra: extra.length > KNOWN_EXTRA_BYTES ? extra.subarray(KNOWN_EXTRA_BYTES) : NOTHING,
  };
}

const NOTHING = new Uint8Array(0);
const EMPTY = entryOf(new Uint8Array(ENTRY_BYTES), NOTHING, NOTHING, NOTHING);

function entryBytes(entry: SnapshotEntry): number {
  return ENTRY_BYTES + KNOWN_EXTRA_BYTES + entry.unknownExtra.length + entry.id.length + entry.name.length;
}

/** Length of the encoded table, without padding behind the last entry. */
export function snapshotTableBytes(entries: readonly SnapshotEntry[]): number {
  return entries.reduce((end, entry) => roundUp(end, ENTRY_ALIGNMENT) + entryBytes(entry), 0);
}

/** A part of an encoded table. */
export interface SnapshotTablePiece {
  /** From the start of the table. */
  readonly at: number;
  readonly length: number;
  /** Writes it into `length` zeros, any number of times. */
  readonly writeTo: (zeros: Uint8Array) => void;
}

/** A table has up to 64 MiB: as a whole it would be held beside the one that it replaces. */
const PIECE_BYTES = 1024 * 1024;

/**
 * Encodes the table, piece by piece. Like QEMU, every entry gets all extra fields
 * we know; unlike QEMU, padding is zeroed. Entries must have a disk size: the
 * caller resolves what "today's size" was when the entry was read. Behind the
 * last entry, up to `room` bytes, is nothing but zeros.
 */
export function encodeSnapshotTable(entries: readonly SnapshotEntry[], room: number): SnapshotTablePiece[] {
  const pieces: SnapshotTablePiece[] = [];
  let [index, start] = [0, 0];
  for (let at = 0; at < room; at += PIECE_BYTES) {
    const length = Math.min(PIECE_BYTES, room - at);
    const [firstIndex, firstStart] = [index, start];
    pieces.push({
      at,
      length,
      writeTo: (zeros) => encodePiece(entries, firstIndex, firstStart - at, zeros),
    });
    for (let entry = entries[index]; entry !== undefined; entry = entries[index]) {
      const next = roundUp(start + entryBytes(entry), ENTRY_ALIGNMENT);
      // The next piece begins with the first entry that reaches into it.
      if (next > at + length) break;
      [index, start] = [index + 1, next];
    }
  }
  return pieces;
}

/** Entries from `index` on, the first of which begins at `start` of the piece, maybe before it. */
function encodePiece(
  entries: readonly SnapshotEntry[],
  index: number,
  start: number,
  zeros: Uint8Array,
): void {
  let at = start;
  for (const entry of entries.slice(index, index + zeros.length / (ENTRY_BYTES + KNOWN_EXTRA_BYTES) + 1)) {
    if (at >= zeros.length) return;
    const length = entryBytes(entry);
    if (at >= 0 && at + length <= zeros.length) encodeEntry(zeros, at, entry);
    else {
      const whole = new Uint8Array(length);
      encodeEntry(whole, 0, entry);
      const from = Math.max(0, -at);
      zeros.set(whole.subarray(from, Math.min(length, zeros.length - at)), at + from);
    }
    at = roundUp(at + length, ENTRY_ALIGNMENT);
  }
}

function encodeEntry(bytes: Uint8Array, start: number, entry: SnapshotEntry): void {
  invariant(entry.diskSize !== undefined, "a snapshot table entry without disk size was encoded");
  writeField(bytes, ENTRY.l1TableOffset, entry.l1TableOffset, start);
  writeField(bytes, ENTRY.l1Size, entry.l1Size, start);
  writeField(bytes, ENTRY.idSize, entry.id.length, start);
  writeField(bytes, ENTRY.nameSize, entry.name.length, start);
  writeField(bytes, ENTRY.dateSec, entry.dateSec, start);
  writeField(bytes, ENTRY.dateNsec, entry.dateNsec, start);
  writeField(bytes, ENTRY.vmClockNsec, entry.vmClockNsec, start);
  // A state that does not fit 32 bits must look absent to readers that know no extra data.
  writeField(bytes, ENTRY.vmStateSize, entry.vmStateSize > 0xffff_ffffn ? 0 : entry.vmStateSize, start);
  writeField(bytes, ENTRY.extraSize, KNOWN_EXTRA_BYTES + entry.unknownExtra.length, start);
  const extraAt = start + ENTRY_BYTES;
  writeField(bytes, EXTRA.vmStateSizeLarge, entry.vmStateSize, extraAt);
  writeField(bytes, EXTRA.diskSize, entry.diskSize, extraAt);
  writeField(bytes, EXTRA.icount, entry.icount ?? NO_ICOUNT, extraAt);
  let at = extraAt + KNOWN_EXTRA_BYTES;
  for (const part of [entry.unknownExtra, entry.id, entry.name]) {
    bytes.set(part, at);
    at += part.length;
  }
}
