import type { ImageSpec } from "./spec.ts";
import { addFiller } from "./model.ts";
import type { Model, Run } from "./model.ts";
import { seededRandom } from "./random.ts";

export interface Layout {
  readonly refcountTable: Run;
  readonly refcountBlocks: readonly Run[];
  readonly snapshotTable: Run;
  readonly bitmap: { readonly directory: Run; readonly table: Run; readonly data: readonly Run[] } | null;
  /** Clusters of the file. */
  readonly total: number;
}

interface RefcountRoom {
  readonly blocks: number;
  readonly tableClusters: number;
  /** Entries of the last block that no cluster uses. */
  readonly free: number;
  readonly tableFull: boolean;
}

/** The refcount structures count themselves, so their size is a fixed point. */
function refcountRoom(clusterSize: number, refcountOrder: number, otherClusters: number): RefcountRoom {
  const perBlock = (clusterSize * 8) / 2 ** refcountOrder;
  const perTableCluster = clusterSize / 8;
  let blocks = 1;
  let tableClusters = 1;
  for (;;) {
    const total = 1 + otherClusters + blocks + tableClusters;
    const neededBlocks = Math.max(blocks, Math.ceil(total / perBlock));
    const neededTable = Math.max(tableClusters, Math.ceil(neededBlocks / perTableCluster));
    if (neededBlocks === blocks && neededTable === tableClusters) {
      return {
        blocks,
        tableClusters,
        free: blocks * perBlock - total,
        tableFull: blocks === tableClusters * perTableCluster,
      };
    }
    blocks = neededBlocks;
    tableClusters = neededTable;
  }
}

const countClusters = (runs: readonly Run[]): number => runs.reduce((sum, { clusters }) => sum + clusters, 0);

const structure = (clusters: number): Run => ({ clusters, first: -1, content: null });

/** Decides where everything lies; sets `first` of every run of the model. */
export function place(
  spec: ImageSpec,
  model: Model,
  tableBytes: number,
  bitmap: { tableEntries: number } | null,
): Layout {
  const { clusterSize } = model;
  const placement = spec.placement ?? {};
  const random = seededRandom(placement.seed ?? 1);
  const refcountOrder = spec.refcountOrder ?? 4;
  const snapshotTable = structure(Math.ceil(tableBytes / clusterSize));
  const bitmapRuns =
    bitmap === null
      ? null
      : {
          directory: structure(1),
          table: structure(Math.ceil((bitmap.tableEntries * 8) / clusterSize)),
          data: Array.from({ length: bitmap.tableEntries }, () => structure(1)),
        };
  const extra = bitmapRuns === null ? [] : [bitmapRuns.directory, bitmapRuns.table, ...bitmapRuns.data];
  const holes: Run[] = [];
  if (placement.holes !== undefined) {
    for (let i = 0; i < model.runs.length; i++) {
      if (random.chance(placement.holes)) holes.push(structure(1 + random.int(3)));
    }
  }
  const fixed = countClusters([snapshotTable, ...extra, ...holes]);
  const room = (): RefcountRoom =>
    refcountRoom(clusterSize, refcountOrder, fixed + countClusters(model.runs));
  if (spec.room !== undefined) {
    const wanted = spec.room;
    const enough = (has: RefcountRoom): boolean =>
      has.free === wanted.freeInLastRefcountBlock && (wanted.refcountTableFull !== true || has.tableFull);
    for (let next = 0; !enough(room());) next = addFiller(model, next);
  }
  const { blocks, tableClusters } = room();
  const refcountTable = structure(tableClusters);
  const refcountBlocks = Array.from({ length: blocks }, () => structure(1));

  // The active L1 follows the refcount structures, as in an image made by qemu-img.
  const rest = model.runs.filter((run) => run !== model.active.l1);
  const movable = [refcountTable, ...refcountBlocks, model.active.l1, ...rest, ...extra];
  const order = placement.order ?? "sequential";
  const ordered =
    order === "random" ? random.shuffle(movable) : order === "reversed" ? movable.toReversed() : movable;
  const spread: Run[] = [...ordered];
  for (const hole of holes) spread.splice(random.int(spread.length), 0, hole);
  // The snapshot table comes last where the file is to stop in mid-cluster: QEMU never pads it.
  const at =
    placement.endMidCluster === true || order === "sequential" ? spread.length : random.int(spread.length);
  spread.splice(at, 0, snapshotTable);

  let cluster = 1;
  for (const run of spread) {
    run.first = cluster;
    cluster += run.clusters;
  }
  return { refcountTable, refcountBlocks, snapshotTable, bitmap: bitmapRuns, total: cluster };
}
