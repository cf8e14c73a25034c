import { type Census, type Image, takeCensus } from "../image/index.ts";
import { contradictorySnapshots } from "./contradictory-snapshots.ts";
import { withOwners } from "./explained-findings.ts";
import { GivenUpZeros } from "./given-up-zeros.ts";
import { withoutDisplacedEntries } from "./misplaced-snapshot-table.ts";
import type { RepairOperation } from "./operation.ts";
import { type ReadableSnapshots, readableSnapshots } from "./readable-snapshots.ts";
import { irreparable } from "./repair-findings.ts";
import type { RepairOptions } from "./repair-options.ts";
import { type RepairScope, repairScope } from "./repair-scope.ts";
import { type StoredTable, readStoredTable } from "./stored-table.ts";

/** What a repair builds upon: the tables that can be counted, and what they refer to. */
export interface RepairTables {
  readonly snapshots: ReadableSnapshots;
  readonly scope: RepairScope;
  /** Without the refcount table and its blocks, whose places it watched, and without snapshots that are damaged. */
  readonly census: Census;
  /** Entries of the counted tables that read as zeros and keep a cluster at an odd place. */
  readonly zeros: GivenUpZeros;
  readonly storedTable: StoredTable;
}

/**
 * Counts the active layer and every snapshot that makes sense beside it. One that
 * contradicts itself or the active layer is damaged like one that cannot be read.
 * @throws QcowalError IMAGE_DAMAGED where the rest contradicts itself, or what may be lost was not given up
 */
export async function repairTables(
  image: Image,
  operation: RepairOperation,
  options: RepairOptions,
): Promise<RepairTables> {
  const count = async (snapshots: ReadableSnapshots): Promise<RepairTables> => {
    const scope = repairScope(image, snapshots, operation);
    const readable = snapshots.readable.map(({ snapshot }) => snapshot);
    const part: Image = { ...image, snapshotTable: { ...image.snapshotTable, snapshots: readable } };
    const storedTable = await readStoredTable(image);
    const zeros = new GivenUpZeros();
    const census = await takeCensus(part, {
      ...options,
      watched: storedTable.places,
      onUnalignedZero: (zero) => zeros.add(zero),
    });
    return { snapshots, scope, census, zeros, storedTable };
  };
  const counted = await count(await readableSnapshots(image));
  const { findings } = counted.census;
  if (findings.length === 0) return counted;
  const { readable, damaged } = counted.snapshots;
  // What is read from a wrong place contradicts snapshots that are sound.
  const isDisplaced = (await withoutDisplacedEntries(image, options)) !== undefined;
  if (isDisplaced) throw irreparable(image.disk.path, findings);
  const found = await contradictorySnapshots(
    image,
    readable.map(({ snapshot }) => snapshot),
    options,
  );
  if (found === undefined) throw irreparable(image.disk.path, await withOwners(image, findings));
  const isFound = new Set(found.map(({ snapshot }) => snapshot));
  return count({
    readable: readable.filter(({ snapshot }) => !isFound.has(snapshot)),
    damaged: [...damaged, ...found],
  });
}
