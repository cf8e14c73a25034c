import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { type Disk, type DiskMode, openFileDisk } from "../disk/index.ts";
import { fencedError } from "../engine/index.ts";
import { QcowalError, isQcowalError } from "../errors/index.ts";
import { EXTENSION, MAX_L1_ENTRIES, l1EntriesFor, u64ToNumber } from "../format/index.ts";
import { type ImageHead, type Snapshot, checkL1Location, readSnapshotTable } from "../image/index.ts";
import { type SnapshotSelection, selectSnapshot } from "../plan/index.ts";
import { namedFile } from "./backing-path.ts";
import { ChainCache } from "./chain-cache.ts";
import type { Layer } from "./layer.ts";
import { Qcow2Layer, type Qcow2Root } from "./qcow2-layer.ts";
import { RawLayer } from "./raw-layer.ts";
import { WatchedDisk, readSteadily } from "./watched-disk.ts";

/** More files than that behind an image are a mistake, and each holds a descriptor. */
const MAX_DEPTH = 200;
const SECTOR = 512;
/** A byte of the header behind version 3's first 104: which compression. */
const COMPRESSION_TYPE_OFFSET = 104;

export interface OpenedLayers {
  readonly layers: readonly Layer[];
  readonly head: ImageHead;
  readonly snapshot: Snapshot | undefined;
  /** The first layer's file, which its layer closes. */
  readonly disk: Disk;
  readonly root: Qcow2Root;
  /** That of all layers. */
  readonly cache: ChainCache;
}

interface Opened {
  readonly layer: Layer;
  readonly head?: ImageHead;
  readonly disk: Disk;
}

/** Opens an image and the files behind it; when one fails, none stays open. `checkpoint` is called before each, and what it throws ends it. */
export async function openLayers(
  imagePath: string,
  selection: SnapshotSelection | undefined,
  mode: DiskMode,
  checkpoint: () => void,
): Promise<OpenedLayers> {
  const layers: Layer[] = [];
  const cache = new ChainCache();
  try {
    checkpoint();
    const path = resolve(imagePath);
    const first = await openQcow2(path, selection, mode, cache);
    layers.push(first.layer);
    await openBehind({ image: path, head: first.head, mode, cache, checkpoint }, layers);
    const { head, snapshot, disk, root } = first;
    return { layers, head, snapshot, disk, root, cache };
  } catch (error) {
    await closeLayers(layers);
    throw error;
  }
}

/** The image whose backing files are opened. */
export interface Behind {
  readonly image: string;
  readonly head: ImageHead;
  readonly mode: DiskMode;
  readonly cache: ChainCache;
  readonly checkpoint: () => void;
}

/**
 * Opens the files behind an image and puts them behind the layers that there are,
 * one by one: when it fails, those that it has opened are among them.
 */
export async function openBehind(
  { image, head: first, mode, cache, checkpoint }: Behind,
  layers: Layer[],
): Promise<void> {
  const seen = new Set([await fileKey(image)]);
  let path = image;
  for (let head: ImageHead | undefined = first; head !== undefined;) {
    const backing = backingOf(path, head);
    if (backing === undefined) break;
    if (seen.size > MAX_DEPTH) {
      throw new QcowalError(
        "LIMIT_EXCEEDED",
        `${image} has more than ${MAX_DEPTH} files behind it. Nothing was changed.`,
      );
    }
    checkpoint();
    const opened = await openBacking(backing.path, backing.format, mode, cache);
    layers.push(opened.layer);
    const key = await fileKey(backing.path);
    if (seen.has(key)) {
      throw new QcowalError(
        "IMAGE_INVALID",
        `${path}: its backing file ${backing.path} is backed by itself. Nothing was changed.`,
      );
    }
    seen.add(key);
    path = backing.path;
    head = opened.head;
  }
  checkpoint();
}

export async function closeLayers(layers: readonly Layer[]): Promise<void> {
  await Promise.all(layers.map((layer) => layer.close()));
}

async function fileKey(path: string): Promise<string> {
  const { dev, ino } = await stat(path, { bigint: true });
  return `${dev}:${ino}`;
}

function backingOf(
  path: string,
  head: ImageHead,
): { readonly path: string; readonly format: string | undefined } | undefined {
  const { backingFileOffset: from, backingFileSize: length } = head.header;
  if (from === 0 || length === 0) return undefined;
  const name = Buffer.from(head.cluster.subarray(from, from + length)).toString();
  const format = head.area.extensions.find(({ type }) => type === EXTENSION.backingFormat)?.data;
  return {
    path: namedFile(path, name, "backing file"),
    format: format === undefined ? undefined : Buffer.from(format).toString(),
  };
}

/** Without a format in the header it is found out, as by every qemu. */
async function openBacking(
  path: string,
  format: string | undefined,
  mode: DiskMode,
  cache: ChainCache,
): Promise<Opened> {
  if (format === "raw") return openRaw(path, mode);
  if (format !== undefined && format !== "qcow2") {
    throw new QcowalError(
      "IMAGE_UNSUPPORTED",
      `${path}: backing files of the format ${JSON.stringify(format)} cannot be read. Nothing was changed; qemu-img can.`,
    );
  }
  try {
    return await openQcow2(path, undefined, mode, cache);
  } catch (error) {
    if (format === undefined && isQcowalError(error, "IMAGE_NOT_QCOW2")) return openRaw(path, mode);
    throw error;
  }
}

async function openRaw(path: string, mode: DiskMode): Promise<Opened> {
  const disk = await openFileDisk(path, mode);
  try {
    // QEMU gives the guest whole sectors; what is missing of the last one reads as zeros.
    const size = Math.ceil((await disk.size()) / SECTOR) * SECTOR;
    return { layer: new RawLayer(disk, size), disk };
  } catch (error) {
    await disk.close();
    throw error;
  }
}

interface OpenedQcow2 extends Opened {
  readonly head: ImageHead;
  readonly snapshot: Snapshot | undefined;
  readonly root: Qcow2Root;
}

async function openQcow2(
  path: string,
  selection: SnapshotSelection | undefined,
  mode: DiskMode,
  cache: ChainCache,
): Promise<OpenedQcow2> {
  const file = await openFileDisk(path, mode);
  let dataDisk: Disk | undefined;
  try {
    const isLocked = mode !== "read-unlocked";
    const { head, snapshot, root } = await readSteadily(file, isLocked, async (found) => {
      if (found.header.fenced) throw await fencedError(file.path, found);
      assertReadable(path, found, selection);
      const selected =
        selection === undefined
          ? undefined
          : selectSnapshot(path, (await readSnapshotTable(file, found.header)).snapshots, selection);
      return { head: found, snapshot: selected, root: rootOf(found, selected) };
    });
    if (head.header.externalDataFile) dataDisk = await openFileDisk(dataFileOf(path, head), mode);
    const states = { active: snapshot === undefined, snapshots: snapshot === undefined ? [] : [snapshot] };
    const disk = isLocked ? file : await WatchedDisk.open(file, head, states);
    const whole = { ...root, ...(dataDisk === undefined ? {} : { dataDisk }) };
    return { layer: new Qcow2Layer(disk, whole, cache.forFile()), head, snapshot, disk, root: whole };
  } catch (error) {
    await dataDisk?.close();
    await file.close();
    throw error;
  }
}

function assertReadable(path: string, { header }: ImageHead, selection: SnapshotSelection | undefined): void {
  const refuse = (why: string): QcowalError =>
    new QcowalError("IMAGE_UNSUPPORTED", `${path} ${why}. Nothing was changed.`);
  if (header.cryptMethod !== 0) throw refuse("is encrypted: its content cannot be read without qemu");
  if (header.externalDataFile && selection !== undefined) {
    throw refuse("has an external data file, which holds no snapshots");
  }
}

function dataFileOf(path: string, head: ImageHead): string {
  const name = head.area.extensions.find(({ type }) => type === EXTENSION.externalDataFile)?.data;
  if (name === undefined) {
    throw new QcowalError(
      "IMAGE_UNSUPPORTED",
      `${path} has an external data file, and does not say which. Nothing was changed.`,
    );
  }
  return namedFile(path, Buffer.from(name).toString(), "data file");
}

/** Where a state of an image is found. @throws QcowalError IMAGE_INVALID */
export function rootOf({ header, cluster }: ImageHead, snapshot: Snapshot | undefined): Qcow2Root {
  const { geometry } = header;
  const hasType = geometry.version === 3 && header.headerLength > COMPRESSION_TYPE_OFFSET;
  const compression = hasType && cluster[COMPRESSION_TYPE_OFFSET] === 1 ? "zstd" : "zlib";
  if (snapshot === undefined) {
    const l1 = { offset: header.l1TableOffset, entries: header.l1Size };
    return { geometry, compression, l1, size: header.virtualSize };
  }
  const { entry } = snapshot;
  const size = entry.diskSize === undefined ? header.virtualSize : u64ToNumber(entry.diskSize);
  if (size === undefined || l1EntriesFor(geometry, size) > MAX_L1_ENTRIES) {
    throw new QcowalError(
      "IMAGE_INVALID",
      `Snapshot ${snapshot.id}: disk size ${entry.diskSize} is out of range. Nothing was changed.`,
    );
  }
  const l1 = checkL1Location(geometry, entry.l1TableOffset, entry.l1Size, `Snapshot ${snapshot.id}`);
  return { geometry, compression, l1, size };
}
