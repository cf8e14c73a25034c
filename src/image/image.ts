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
  const probe = new Uint8Array(Math.min(HEADER_PROBE_BYTES, fileSize));
  await disk.read(0, probe);
  try {
    const header = decodeHeader(probe, rescue);
    const cluster = new Uint8Array(header.geometry.clusterSize);
    await disk.read(0, cluster);
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
