import type { Extent, GuestDisk } from "./guest-disk.ts";
import type { Layer, Piece } from "./layer.ts";
import { closeLayers } from "./open-layers.ts";
import type { Segment } from "./segment.ts";

interface Placed {
  readonly segment: Segment;
  readonly depth: number;
}

/** Layers behind each other, as a guest sees them. */
export class LayeredDisk implements GuestDisk {
  readonly size: number;
  readonly #layers: readonly Layer[];

  constructor(layers: readonly [Layer, ...Layer[]]) {
    this.#layers = layers;
    this.size = layers[0].size;
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    this.#assertInside(offset, target.length);
    if (await this.#readAlike(offset, target)) return;
    const wanted = new Map<number, Piece[]>();
    for await (const batch of this.#resolve(0, offset, offset + target.length)) {
      for (const { segment, depth } of batch) {
        const start = segment.offset - offset;
        const part = target.subarray(start, start + segment.length);
        if (isZeros(segment)) {
          part.fill(0);
          continue;
        }
        const pieces = wanted.get(depth);
        if (pieces === undefined) wanted.set(depth, [{ segment, target: part }]);
        else pieces.push({ segment, target: part });
      }
    }
    // One file after the other: the files of a chain lie on one disk, and each reads what it has in parallel.
    for (const [depth, pieces] of wanted) await this.#layers[depth]?.read(pieces);
  }

  /** What most small reads are: all of it stored alike, in the first file. False when it is not. */
  async #readAlike(offset: number, target: Uint8Array): Promise<boolean> {
    const [first, behind] = this.#layers;
    if (first === undefined || target.length === 0) return false;
    const [segment] = await first.map(offset, offset + target.length);
    if (segment?.length !== target.length) return false;
    if (segment.kind === "unallocated" && behind !== undefined) return false;
    if (isZeros(segment)) target.fill(0);
    else await first.read([{ segment, target }]);
    return true;
  }

  /** What `checkpoint` throws, which is called before each slice of a table, ends it. */
  async *extents(
    offset: number,
    length: number,
    checkpoint: () => void = () => undefined,
  ): AsyncGenerator<Extent> {
    this.#assertInside(offset, length);
    checkpoint();
    let last: Extent | undefined;
    for await (const batch of this.#resolve(0, offset, offset + length)) {
      checkpoint();
      for (const placed of batch) {
        const next = extentOf(placed);
        if (last !== undefined && isSame(last, next)) {
          last = { ...last, length: last.length + next.length };
          continue;
        }
        if (last !== undefined) yield last;
        last = next;
      }
    }
    if (last !== undefined) yield last;
  }

  close(): Promise<void> {
    return closeLayers(this.#layers);
  }

  /** What the files from `depth` on say of the range. */
  async *#resolve(depth: number, offset: number, end: number): AsyncGenerator<readonly Placed[]> {
    const layer = this.#layers[depth];
    if (layer === undefined) return;
    const behind = this.#layers[depth + 1];
    for (let at = offset; at < end;) {
      let ready: Placed[] = [];
      for (const segment of await layer.map(at, end)) {
        at = segment.offset + segment.length;
        // A file may be shorter than the one that it backs.
        const shared = behind === undefined ? 0 : Math.min(at, behind.size) - segment.offset;
        if (segment.kind !== "unallocated" || shared <= 0) {
          ready.push({ segment, depth });
          continue;
        }
        if (ready.length > 0) yield ready;
        ready = [];
        yield* this.#resolve(depth + 1, segment.offset, segment.offset + shared);
        if (shared < segment.length) {
          const rest: Segment = {
            offset: segment.offset + shared,
            length: segment.length - shared,
            kind: "unallocated",
          };
          ready.push({ segment: rest, depth });
        }
      }
      if (ready.length > 0) yield ready;
    }
  }

  #assertInside(offset: number, length: number): void {
    const isInside =
      Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0;
    if (!isInside || offset + length > this.size) {
      throw new RangeError(`${length} bytes at ${offset} are not inside a disk of ${this.size} bytes`);
    }
  }
}

const isZeros = ({ kind }: Segment): boolean => kind === "zero" || kind === "unallocated";

function extentOf({ segment, depth }: Placed): Extent {
  const { offset, length, kind, host } = segment;
  if (kind === "compressed") return { offset, length, kind, depth };
  return {
    offset,
    length,
    kind: kind === "unallocated" ? "hole" : kind,
    depth,
    ...(host === undefined ? {} : { hostOffset: host }),
  };
}

function isSame(last: Extent, next: Extent): boolean {
  return (
    last.kind === next.kind &&
    last.depth === next.depth &&
    (last.hostOffset === undefined
      ? next.hostOffset === undefined
      : last.hostOffset + last.length === next.hostOffset)
  );
}
