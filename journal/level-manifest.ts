/**
 * What LevelDB's MANIFEST says: which tables make up the database. It is a log of
 * edits in the format of LevelDB's own log files; checksums are left to LevelDB,
 * which reads the file after us.
 */
const BLOCK = 32 * 1024;
const HEADER = 7;
const FULL = 1;
const FIRST = 2;
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

/** The whole records of a log file. A last one that is not complete is still being written. */
function* recordsOf(file: Uint8Array): Generator<Uint8Array> {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  let pieces: Uint8Array[] = [];
  for (let at = 0; at + HEADER <= file.length;) {
    const left = BLOCK - (at % BLOCK);
    if (left < HEADER) {
      at += left;
      continue;
    }
    const length = view.getUint16(at + 4, true);
    const type = view.getUint8(at + 6);
    const end = at + HEADER + length;
    if (end > file.length) return;
    if (type === FULL || type === FIRST) pieces = [];
    pieces.push(file.subarray(at + HEADER, end));
    if (type === FULL || type === LAST) yield Buffer.concat(pieces);
    at = end;
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

function applyEdit(tables: Set<number>, edit: Uint8Array): void {
  const cursor = new Cursor(edit);
  // A file that is moved to another level is deleted and added in one edit, in any order.
  const added: number[] = [];
  while (!cursor.isAtEnd) {
    const tag = cursor.number();
    switch (tag) {
      case TAG.comparator:
        cursor.skipText();
        break;
      case TAG.logNumber:
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
}

/**
 * Numbers of the tables that make up the database.
 * @throws RangeError when it is not a MANIFEST
 */
export function tablesIn(manifest: Uint8Array): ReadonlySet<number> {
  const tables = new Set<number>();
  for (const edit of recordsOf(manifest)) applyEdit(tables, edit);
  return tables;
}
