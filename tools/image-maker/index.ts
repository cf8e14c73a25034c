/**
 * Makes qcow2 images of any shape from a description, without qemu and without
 * the code under test. Every image is clean under `qemu-img check`: refcounts
 * come from a census of the model, not from the description.
 */
import { open } from "node:fs/promises";
import {
  bitmapDirectorySize,
  bitmapTableEntries,
  renderBitmapData,
  renderBitmapDirectory,
} from "./bitmap.ts";
import { view } from "./bytes.ts";
import { census } from "./census.ts";
import { renderHeader } from "./header.ts";
import { place } from "./layout.ts";
import { ModelBuilder } from "./model.ts";
import { renderSnapshotTable } from "./snapshot-table.ts";
import type { ImageSpec } from "./spec.ts";
import { TableRenderer, renderRefcountBlock } from "./tables.ts";

export { compressible, noise } from "./content.ts";
export { mix32, seededRandom } from "./random.ts";
export type { Random } from "./random.ts";
export { randomSpec } from "./random-spec.ts";
export type { RandomSpecOptions } from "./random-spec.ts";
export type {
  BitmapSpec,
  ChangeSpec,
  ClusterKind,
  HeaderExtensionSpec,
  ImageSpec,
  RootSpec,
  SnapshotSpec,
} from "./spec.ts";

interface Part {
  readonly offset: number;
  readonly render: () => Uint8Array;
}

interface Plan {
  readonly fileSize: number;
  readonly parts: readonly Part[];
}

function plan(spec: ImageSpec): Plan {
  if (spec.version === 2 && ((spec.refcountOrder ?? 4) !== 4 || spec.extendedL2 === true)) {
    throw new RangeError("version 2 has refcounts of 16 bits and plain L2 entries only");
  }
  const clusterSize = 2 ** spec.clusterBits;
  const refcountOrder = spec.refcountOrder ?? 4;
  const model = new ModelBuilder(spec).build();
  const { bitmap } = spec;
  const tableBytes = renderSnapshotTable(spec, model.snapshots, clusterSize).length;
  const bitmapShape = bitmap === undefined ? null : { tableEntries: bitmapTableEntries(spec, bitmap) };
  const layout = place(spec, model, tableBytes, bitmapShape);
  const counts = census(model, layout);
  const tables = new TableRenderer(spec, model, counts);
  const at = (run: { first: number; clusters: number }): number =>
    run.clusters === 0 ? 0 : run.first * clusterSize;

  const parts: Part[] = [];
  const part = (offset: number, render: () => Uint8Array): void => void parts.push({ offset, render });
  part(0, () =>
    renderHeader(spec, {
      l1Offset: at(model.active.l1),
      l1Size: model.active.l1Size,
      refcountTableOffset: at(layout.refcountTable),
      refcountTableClusters: layout.refcountTable.clusters,
      snapshotsOffset: at(layout.snapshotTable),
      bitmapDirectory:
        bitmap === undefined || layout.bitmap === null
          ? null
          : { offset: at(layout.bitmap.directory), size: bitmapDirectorySize(bitmap) },
    }),
  );
  part(at(layout.refcountTable), () => offsets(layout.refcountBlocks.map(at)));
  const perBlock = (clusterSize * 8) / 2 ** refcountOrder;
  layout.refcountBlocks.forEach((run, i) =>
    part(at(run), () => renderRefcountBlock(counts, i * perBlock, clusterSize, refcountOrder)),
  );
  const drawn = new Set<object>();
  for (const root of [...model.snapshots, model.active]) {
    part(at(root.l1), () => tables.l1(root));
    for (const table of root.slots.values()) {
      if (drawn.has(table)) continue;
      drawn.add(table);
      part(at(table.run), () => tables.l2(table));
    }
  }
  for (const run of model.runs) if (run.content !== null) part(at(run), run.content);
  part(at(layout.snapshotTable), () => renderSnapshotTable(spec, model.snapshots, clusterSize));
  if (bitmap !== undefined && layout.bitmap !== null) {
    const { directory, table, data } = layout.bitmap;
    part(at(directory), () => renderBitmapDirectory(spec, bitmap, at(table)));
    part(at(table), () => offsets(data.map(at)));
    data.forEach((run, i) => part(at(run), () => renderBitmapData(spec, bitmap, i)));
  }
  const full = layout.total * clusterSize;
  const cut = spec.placement?.endMidCluster === true && layout.snapshotTable.clusters > 0;
  return { fileSize: cut ? at(layout.snapshotTable) + tableBytes : full, parts };
}

function offsets(values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * 8);
  values.forEach((value, i) => view(bytes).setBigUint64(i * 8, BigInt(value)));
  return bytes;
}

/** The whole file. */
export function makeImage(spec: ImageSpec): Uint8Array {
  const { fileSize, parts } = plan(spec);
  const bytes = new Uint8Array(fileSize);
  for (const { offset, render } of parts) {
    const content = render();
    if (content.length > 0) bytes.set(content.subarray(0, fileSize - offset), offset);
  }
  return bytes;
}

/** Writes the same bytes as a sparse file, part by part. */
export async function writeImage(path: string, spec: ImageSpec): Promise<void> {
  const { fileSize, parts } = plan(spec);
  const file = await open(path, "w");
  try {
    await file.truncate(fileSize);
    for (const { offset, render } of parts) {
      const content = render();
      if (content.some((byte) => byte !== 0)) await file.write(content, 0, content.length, offset);
    }
  } finally {
    await file.close();
  }
}
