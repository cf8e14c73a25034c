/**
 * What LevelDB's MANIFEST says: which tables make up the database, and from which
 * log on it is to be read. It is a log of edits in the format of LevelDB's own log
 * files. Each edit is synced before the next is written, and before anything is
 * deleted that it makes superfluous.
 */
import { crc32c } from "./crc32c.ts";

const BLOCK = 32 * 1024;
const HEADER = 7;
const FULL = 1;
const FIRST = 2;
const MIDDLE = 3;
const LAST = 4;

/** Fields of an edit, by LevelDB's numbers. */
const TAG = {
  comparator: 1,
  logNumber: 2,
  nextFile: 3,
  lastSequence: 4,
  compactPointer: 5,
  deletedFile: 6,
  newFile: 7,
  previousLog: 9,
} as const;

/** A piece of a record: an edit that reaches over the end of a block is several. */
interface Piece {
  readonly type: number;
  readonly data: Uint8Array;
  readonly end: number;
}

/** LevelDB's way to keep the checksum of data that holds checksums from being one itself. */
const masked = (checksum: number): number => (((checksum >>> 15) | (checksum << 17)) + 0xa282ead8) >>> 0;

/** The piece at an offset; undefined when there is none that is whole. */
function pieceAt(file: Uint8Array, at: number): Piece | undefined {
  if (at + HEADER > file.length) return undefined;
  const view = new DataView(file.buffer, file.byteOffset + at, HEADER);
  const type = view.getUint8(6);
  const end = at + HEADER + view.getUint16(4, true);
  if (type < FULL || type > LAST || end > file.length) return undefined;
  if (masked(crc32c(file.subarray(at + HEADER - 1, end))) !== view.getUint32(0, true)) return undefined;
  return { type, data: file.subarray(at + HEADER, end), end };
}

interface Edit {
  readonly content: Uint8Array;
  /** Where it begins, and where the next one does. */
  readonly start: number;
  readonly end: number;
}

/** The whole edits from the start of the file up to the first that is not. */
function editsOf(file: Uint8Array): Edit[] {
  const edits: Edit[] = [];
  let pieces: Uint8Array[] = [];
  let start = 0;
  for (let at = 0; ;) {
    // What is left of a block is too short for a header, and zeros.
    if (BLOCK - (at % BLOCK) < HEADER) at += BLOCK - (at % BLOCK);
    const piece = pieceAt(file, at);
    if (piece === undefined) return edits;
    const continues = piece.type === MIDDLE || piece.type === LAST;
    if (continues !== pieces.length > 0) return edits;
    if (!continues) start = at;
    pieces.push(piece.data);
    at = piece.end;
    if (piece.type === FIRST || piece.type === MIDDLE) continue;
    edits.push({ content: Buffer.concat(pieces), start, end: at });
    pieces = [];
  }
}

class Cursor {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  /** A varint. Numbers of files and levels are far below 2^53; what is not is never looked at. */
  number(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.#bytes[this.#at];
      if (byte === undefined) throw new RangeError("an edit of the MANIFEST ends within a number");
      this.#at += 1;
      value += (byte & 0x7f) * scale;
      if (byte < 128) return value;
    }
  }

  skipText(): void {
    const length = this.number();
    this.#at += length;
  }
}

/** The database as edits describe it. */
interface Version {
  readonly tables: ReadonlySet<number>;
  /** The oldest log that is still to be read. */
  readonly log: number | undefined;
}

function versionAfter(edits: readonly Edit[]): Version {
  const tables = new Set<number>();
  let log: number | undefined;
  for (const { content } of edits) log = applyEdit(tables, content) ?? log;
  return { tables, log };
}

/** Returns the number of the log, if the edit has one. */
function applyEdit(tables: Set<number>, edit: Uint8Array): number | undefined {
  const cursor = new Cursor(edit);
  // A file that is moved to another level is deleted and added in one edit, in any order.
  const added: number[] = [];
  let log: number | undefined;
  while (!cursor.isAtEnd) {
    const tag = cursor.number();
    switch (tag) {
      case TAG.comparator:
        cursor.skipText();
        break;
      case TAG.logNumber:
        log = cursor.number();
        break;
      case TAG.nextFile:
      case TAG.lastSequence:
      case TAG.previousLog:
        cursor.number();
        break;
      case TAG.compactPointer:
        cursor.number();
        cursor.skipText();
        break;
      case TAG.deletedFile:
        cursor.number();
        tables.delete(cursor.number());
        break;
      case TAG.newFile:
        cursor.number();
        added.push(cursor.number());
        cursor.number();
        cursor.skipText();
        cursor.skipText();
        break;
      default:
        throw new RangeError(`an edit of the MANIFEST has an unknown field ${tag}`);
    }
  }
  for (const number of added) tables.add(number);
  return log;
}

/**
 * Numbers of the tables that make up the database.
 * @throws RangeError when it is not a MANIFEST
 */
export const tablesIn = (manifest: Uint8Array): ReadonlySet<number> => versionAfter(editsOf(manifest)).tables;

/**
 * How much of a MANIFEST to go on from after a power cut, when LevelDB does not
 * open it: an edit at its end may be torn, or name a table whose own name was
 * lost with the directory. That edit was then never synced, so everything is
 * still there of which the database consisted before it, `files` of its directory
 * shows: with these tables and all logs since, nothing is lost.
 *
 * @returns undefined when it is whole, or when this does not explain what is wrong with it
 */
export function lengthBeforeLostEdit(manifest: Uint8Array, files: readonly string[]): number | undefined {
  const names = new Set(files);
  const isThere = ({ tables, log }: Version): boolean =>
    log !== undefined &&
    names.has(fileName(log, "log")) &&
    [...tables].every((number) => names.has(fileName(number, "ldb")) || names.has(fileName(number, "sst")));
  try {
    const edits = editsOf(manifest);
    const end = edits.at(-1)?.end ?? 0;
    if (end < manifest.length) {
      return !hasPieceBehind(manifest, end) && isThere(versionAfter(edits)) ? end : undefined;
    }
    if (isThere(versionAfter(edits))) return undefined;
    return isThere(versionAfter(edits.slice(0, -1))) ? edits.at(-1)?.start : undefined;
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

/** Behind an edit that is torn was never another: where one is, the edit before it is damaged. */
function hasPieceBehind(manifest: Uint8Array, end: number): boolean {
  for (let at = end + 1; at + HEADER <= manifest.length; at += 1) {
    const piece = pieceAt(manifest, at);
    if (piece?.type === FULL || piece?.type === FIRST) return true;
  }
  return false;
}

const fileName = (number: number, kind: "log" | "ldb" | "sst"): string =>
  `${String(number).padStart(6, "0")}.${kind}`;
