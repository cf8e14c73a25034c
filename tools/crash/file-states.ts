/**
 * What a power cut can leave of one file: a change is pending until the next
 * sync of the file, and each pending change is kept, lost or torn at any
 * 512-byte sector, in any combination. A sector is atomic. The length of the
 * file is pending too: a prefix of its changes survives, as in every file system
 * that journals its metadata. What was kept behind the surviving length cannot
 * be seen; what was lost inside it reads as it was before.
 */
import { SparseBytes } from "../../test/support/sparse-bytes.ts";
import type { Random } from "../../test/support/random.ts";
import { type Change, type UnsyncedFile, applyChange } from "../../test/support/unsynced.ts";

/** One of the states; made only when it is asked for. */
export interface FileState {
  /** Which changes were kept, in words. */
  readonly how: string;
  readonly bytes: () => SparseBytes;
}

export interface StateLimits {
  /** Where there are at most so many combinations, every one is a state. */
  readonly all: number;
  /** Otherwise: torn states for each write over several sectors, */
  readonly tears: number;
  /** and random combinations. */
  readonly samples: number;
}

const SECTOR = 512;
/** A punched hole is freed in blocks of the file system. */
const BLOCK = 4096;

/** A part of a change that is there entirely or not at all. */
interface Piece {
  readonly change: number;
  readonly part: Change;
}

interface Shape {
  readonly file: UnsyncedFile;
  readonly pieces: readonly Piece[];
  /** Lengths that the file went through, the durable one first, and the change that made each. */
  readonly lengths: readonly { readonly length: number; readonly change: number }[];
}

interface Choice {
  readonly kept: (piece: Piece, index: number) => boolean;
  /** Index into `lengths`. */
  readonly length: number;
}

function piecesOf(change: Change, index: number): Piece[] {
  if (change.type === "truncate") return [];
  const size = change.type === "write" ? change.data.length : change.length;
  const unit = change.type === "zero" && size > 8 * SECTOR ? BLOCK : SECTOR;
  const pieces: Piece[] = [];
  for (let at = 0; at < size;) {
    const offset = change.offset + at;
    const length = Math.min(size - at, unit - (offset % unit));
    const part: Change =
      change.type === "write"
        ? { type: "write", offset, data: change.data.subarray(at, at + length) }
        : { type: "zero", offset, length };
    pieces.push({ change: index, part });
    at += length;
  }
  return pieces;
}

function shapeOf(file: UnsyncedFile): Shape {
  const lengths = [{ length: file.durable.length, change: -1 }];
  for (const [change, what] of file.changes.entries()) {
    const now = lengths.at(-1)?.length ?? 0;
    const length =
      what.type === "truncate"
        ? what.size
        : what.type === "write" && what.data.length > 0
          ? Math.max(now, what.offset + what.data.length)
          : now;
    if (length !== now) lengths.push({ length, change });
  }
  return { file, pieces: file.changes.flatMap(piecesOf), lengths };
}

function build({ file, pieces, lengths }: Shape, { kept, length }: Choice): SparseBytes {
  const bytes = file.durable.copy();
  const last = lengths[length];
  let next = 0;
  for (const [index, change] of file.changes.entries()) {
    for (let piece = pieces[next]; piece?.change === index; piece = pieces[++next]) {
      if (kept(piece, next)) applyChange(bytes, piece.part);
    }
    // What was cut off must not come back when the file grows again.
    if (change.type === "truncate" && index <= (last?.change ?? -1) && change.size < bytes.length) {
      bytes.zero(change.size, bytes.length - change.size);
    }
  }
  bytes.truncate(last?.length ?? file.durable.length);
  return bytes;
}

/** Every state where they are few, else a selection; may repeat itself. With nothing pending there is one. */
export function* fileStates(file: UnsyncedFile, random: Random, limits: StateLimits): Generator<FileState> {
  const shape = shapeOf(file);
  const { pieces, lengths } = shape;
  const state = (how: string, choice: Choice): FileState => ({ how, bytes: () => build(shape, choice) });
  if (pieces.length <= 20 && 2 ** pieces.length * lengths.length <= limits.all) {
    for (let length = 0; length < lengths.length; length += 1) {
      for (let mask = 0; mask < 2 ** pieces.length; mask += 1) {
        const kept = (_: Piece, index: number): boolean => ((mask >>> index) & 1) === 1;
        yield state(`pieces 0b${mask.toString(2)} of ${pieces.length}, length ${length}`, { kept, length });
      }
    }
    return;
  }
  const full = lengths.length - 1;
  const lengthAfter = (changes: number): number => lengths.findLastIndex(({ change }) => change < changes);
  const { length: count } = file.changes;
  for (let prefix = 0; prefix <= count; prefix += 1) {
    const kept = ({ change }: Piece): boolean => change < prefix;
    yield state(`the first ${prefix} changes`, { kept, length: lengthAfter(prefix) });
    if (full > 0) yield state(`the first ${prefix} changes, not the length`, { kept, length: 0 });
  }
  for (let one = 0; one < count; one += 1) {
    yield state(`all but change ${one}`, { kept: ({ change }) => change !== one, length: full });
    yield state(`change ${one} alone`, {
      kept: ({ change }) => change === one,
      length: random.int(full + 1),
    });
    const own = pieces.filter(({ change }) => change === one).length;
    if (own < 2) continue;
    for (let tear = 0; tear < limits.tears; tear += 1) {
      const torn = pieces.map(() => random.chance(0.5));
      const rest = tear % 2 === 0;
      yield state(`change ${one} torn, ${rest ? "those before it kept" : "all others kept"}`, {
        kept: ({ change }, index) => (change === one ? torn[index] === true : rest ? change < one : true),
        length: rest ? lengthAfter(one + 1) : full,
      });
    }
  }
  for (let sample = 0; sample < limits.samples; sample += 1) {
    const chance = random.pick([0.1, 0.3, 0.5, 0.7, 0.9]);
    const chosen = pieces.map(() => random.chance(chance));
    yield state(`random pieces (${sample})`, {
      kept: (_, index) => chosen[index] === true,
      length: random.int(full + 1),
    });
  }
}
