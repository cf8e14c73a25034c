import { readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type StreamItem, decodeStream, encodeStream } from "../../src/export/index.ts";
import { type ImageSpec, type SnapshotSpec, makeImage } from "../../tools/image-maker/index.ts";
import { readRoot } from "../support/naive-qcow2.ts";
import { seededRandom } from "../support/random.ts";
import { tempDir } from "../support/qemu.ts";
import { BytesGuest, all, rangesOf } from "./lab.ts";

const CLUSTER = 4096;
const CLUSTERS = 700;

/** Six states of a disk of almost three pieces; what changes goes everywhere, and some of it becomes zeros. */
function spec(): ImageSpec {
  const random = seededRandom(77);
  const snapshots = Array.from({ length: 6 }, (_, index): SnapshotSpec => ({
    name: `day ${index}`,
    changes: Array.from({ length: 12 }, () => ({
      at: random.int(CLUSTERS - 8),
      count: 1 + random.int(8),
      kind: random.pick(["data", "data", "compressed", "zero", "none"] as const),
      seed: random.int(10_000),
    })),
  }));
  return { version: 3, clusterBits: 12, virtualSize: CLUSTERS * CLUSTER + 512, snapshots };
}

/** Of these the disk is smaller, or larger: the places of snapshots in the table, and bytes. */
const RESIZED: ReadonlyMap<number, number> = new Map([
  [2, 650 * CLUSTER + 1024],
  [3, CLUSTERS * CLUSTER + 5 * 1024],
]);

function image(): Uint8Array {
  const bytes = makeImage(spec());
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  let at = Number(view.getBigUint64(64));
  for (let index = 0; index < 6; index += 1) {
    const size = RESIZED.get(index);
    if (size !== undefined) view.setBigUint64(at + 48, BigInt(size));
    const length = 40 + view.getUint32(at + 36) + view.getUint16(at + 12) + view.getUint16(at + 14);
    at += Math.ceil(length / 8) * 8;
  }
  return bytes;
}

/** What a stream and its ends are made of, once for all tests. */
export class States {
  readonly #image = image();
  readonly #contents = new Map<number, Buffer>();

  content(index: number): Buffer {
    const known = this.#contents.get(index) ?? Buffer.from(readRoot(this.#image, index));
    this.#contents.set(index, known);
    return known;
  }

  /** `from` undefined: a full stream. As it comes, frame by frame. */
  async frames(from: number | undefined, to: number): Promise<Buffer[]> {
    const side = (index: number) => ({
      snapshot: { id: String(index + 1), name: `day ${index}` },
      size: this.content(index).length,
    });
    const names = { image: "/vms/web.qcow2", from: from === undefined ? null : side(from), to: side(to) };
    const disk = new BytesGuest(this.content(to));
    if (from === undefined) return all(encodeStream(names, { to: disk }));
    const ranges = await rangesOf(this.#image, from, to);
    const changed = (async function* () {
      yield* await Promise.resolve(ranges);
    })();
    return all(encodeStream(names, { from: new BytesGuest(this.content(from)), to: disk, changed }));
  }

  async stream(from: number | undefined, to: number): Promise<Buffer> {
    return Buffer.concat(await this.frames(from, to));
  }
}

/** A directory with a raw copy that stands at a state. */
export class Receiver {
  readonly dir: string;
  readonly target: string;

  private constructor(dir: string) {
    this.dir = dir;
    this.target = join(dir, "web.raw");
  }

  static async at(content?: Uint8Array): Promise<Receiver> {
    const receiver = new Receiver(await tempDir());
    if (content !== undefined) await writeFile(receiver.target, content);
    return receiver;
  }

  async save(stream: Uint8Array, name = "stream"): Promise<string> {
    const path = join(this.dir, name);
    await writeFile(path, stream);
    return path;
  }

  bytes(): Promise<Buffer> {
    return readFile(this.target);
  }

  /** Beside the target and streams that were saved. */
  async leftovers(): Promise<string[]> {
    return (await readdir(this.dir)).filter((name) => name.startsWith("."));
  }
}

/** Bytes in pieces of a length that fits nothing. */
export async function* dribble(bytes: Uint8Array, length = 1009): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += length) {
    yield await Promise.resolve(bytes.subarray(at, at + length));
  }
}

/** As far as a stream could be read, and why not further. */
export async function read(bytes: Uint8Array): Promise<{ items: StreamItem[]; error: unknown }> {
  const items: StreamItem[] = [];
  try {
    for await (const item of decodeStream(dribble(bytes, 70_000), "it")) items.push(item);
  } catch (error) {
    return { items, error };
  }
  return { items, error: undefined };
}
