import { copyFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { type Pool, openPool } from "../../src/index.ts";
import type { Operation } from "../../src/plan/index.ts";
import { type ImageSpec, makeImage } from "../../tools/image-maker/index.ts";
import { Machine } from "../support/machine.ts";
import { type NaiveHeader, parseHeader } from "../support/naive-qcow2.ts";
import { FileBytes } from "../support/naive-qcow2/file.ts";
import { type L2Entry, readL1Entry, readL2Entry } from "../support/naive-qcow2/mapping.ts";
import { StoredRefcounts } from "../support/naive-qcow2/refcounts.ts";
import { type NaiveSnapshot, parseSnapshots } from "../support/naive-qcow2/snapshots.ts";
import { tempDir } from "../support/qemu.ts";
import { attempt, newWorld } from "../support/world.ts";

/** One image file and a pool to work on it. */
export interface Lab {
  readonly path: string;
  readonly pool: Pool;
  readonly dir: string;
  readonly bytes: () => Promise<Buffer>;
  /** A copy for qemu-img. */
  readonly twin: () => Promise<string>;
}

/** With an image of this kind, or none yet. */
export async function openLab(image?: ImageSpec | Uint8Array): Promise<Lab> {
  const dir = await tempDir();
  const path = join(dir, "image.qcow2");
  if (image !== undefined) await writeFile(path, image instanceof Uint8Array ? image : makeImage(image));
  const pool = await openPool(join(dir, "journal"));
  onTestFinished(() => pool.close());
  return {
    path,
    pool,
    dir,
    bytes: () => readFile(path),
    twin: async () => {
      await copyFile(path, `${path}.twin`);
      return `${path}.twin`;
    },
  };
}

/** An image as the plain reader of the tests sees it. */
export class Seen {
  readonly header: NaiveHeader;
  readonly #file: FileBytes;

  constructor(bytes: Uint8Array) {
    this.#file = new FileBytes(bytes);
    this.header = parseHeader(this.#file, { ignoreFence: true });
  }

  get snapshots(): readonly NaiveSnapshot[] {
    return parseSnapshots(this.#file, this.header).snapshots;
  }

  /** Refcount of the cluster at this host offset. */
  refcount(offset: number): number {
    return new StoredRefcounts(this.#file, this.header).get(Math.floor(offset / this.header.clusterSize));
  }

  /** Entries of the active L1 table, or of one elsewhere. */
  l1(offset = this.header.l1Offset, size = this.header.l1Size): { offset: number; copied: boolean }[] {
    return Array.from({ length: size }, (_, slot) => readL1Entry(this.#file, offset, slot));
  }

  /** L2 entry of a guest cluster of the active layer. */
  l2(guestCluster: number): L2Entry {
    const { l2Entries } = this.header;
    const table = this.l1()[Math.floor(guestCluster / l2Entries)]?.offset ?? 0;
    return readL2Entry(this.#file, this.header, table, guestCluster % l2Entries);
  }

  /** Host offset of a guest cluster that has one. */
  host(guestCluster: number): number {
    const { cell } = this.l2(guestCluster);
    if (cell.kind !== "host") throw new Error(`guest cluster ${guestCluster} has no host cluster`);
    return cell.offset;
  }
}

/** What a kill at each event of a transaction leaves, in memory. */
export async function killStates(image: Uint8Array, operation: Operation): Promise<Buffer[]> {
  const start = newWorld({ [operation.image]: image });
  const { machine } = await attempt(start, [operation], new Machine());
  const states: Buffer[] = [];
  for (let event = 0; event <= machine.events; event += 1) {
    const { world } = await attempt(start, [operation], new Machine(event));
    const file = world.images.get(operation.image);
    if (file !== undefined) states.push(Buffer.from(file.bytes()));
  }
  return states;
}

/** Where two files differ, as offsets. */
export function differing(a: Uint8Array, b: Uint8Array): number[] {
  return Array.from({ length: Math.max(a.length, b.length) }, (_, at) => at).filter((at) => a[at] !== b[at]);
}
