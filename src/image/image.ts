import type { Disk } from "../disk/index.ts";
import { withPath } from "../errors/index.ts";
import {
  type ExtensionArea,
  HEADER_PROBE_BYTES,
  type Header,
  decodeExtensions,
  decodeHeader,
} from "../format/index.ts";
import { type SnapshotTable, readSnapshotTable } from "./snapshots.ts";

/** QEMU's default: the whole first cluster of most images comes with their header. */
const USUAL_CLUSTER_BYTES = 64 * 1024;

/** The header of an image and what surrounds it in the first cluster. */
export interface ImageHead {
  readonly header: Header;
  readonly area: ExtensionArea;
  /** The whole first cluster. */
  readonly cluster: Uint8Array;
  /** Length of the file in bytes. */
  readonly fileSize: number;
}

/** An opened image: validated head and snapshot table. Everything larger is read when an operation needs it. */
export interface Image extends ImageHead {
  readonly disk: Disk;
  readonly snapshotTable: SnapshotTable;
}

/**
 * `rescue` is for a repair: see `decodeHeader`.
 * @throws QcowalError IMAGE_NOT_QCOW2, IMAGE_INVALID, IMAGE_UNSUPPORTED, IO_FAILED
 */
export async function readHead(disk: Disk, rescue = false): Promise<ImageHead> {
  const fileSize = await disk.size();
  const first = new Uint8Array(USUAL_CLUSTER_BYTES);
  const found = await disk.read(0, first);
  try {
    const header = decodeHeader(first.subarray(0, Math.min(HEADER_PROBE_BYTES, found)), rescue);
    const { clusterSize } = header.geometry;
    let cluster = first.subarray(0, clusterSize);
    if (cluster.length < clusterSize) {
      cluster = new Uint8Array(clusterSize);
      await disk.read(0, cluster);
    }
    return { header, area: decodeExtensions(cluster, header), cluster, fileSize };
  } catch (error) {
    throw withPath(error, disk.path);
  }
}

/** `rescue` is for a repair: see `readSnapshotTable`. */
export async function readImage(disk: Disk, rescue = false): Promise<Image> {
  const head = await readHead(disk, rescue);
  return { ...head, disk, snapshotTable: await readSnapshotTable(disk, head.header, rescue) };
}
