import { StoredRefcounts } from "../../support/naive-qcow2/refcounts.ts";
import { FileBytes } from "../../support/naive-qcow2/file.ts";
import { parseHeader } from "../../support/naive-qcow2.ts";

/** What a repair must leave as it is; each answers with what it changed all the same. */
type LeftAlone = (before: Uint8Array, after: Uint8Array) => string | undefined;

function compareRefcounts(
  before: Uint8Array,
  after: Uint8Array,
  wrong: (from: number, to: number) => boolean,
): number | undefined {
  const [old, now] = [before, after].map((bytes) => {
    const file = new FileBytes(bytes);
    return new StoredRefcounts(file, parseHeader(file, {}));
  });
  const clusters = before.length / parseHeader(new FileBytes(before), {}).clusterSize;
  for (let cluster = 0; cluster < clusters; cluster += 1) {
    if (wrong(old?.get(cluster) ?? 0, now?.get(cluster) ?? 0)) return cluster;
  }
  return undefined;
}

/** A snapshot that cannot be read may own any cluster that has a refcount; its entry stays where it is. */
const ownedByAnyone: LeftAlone = (before, after) => {
  const freed = compareRefcounts(before, after, (from, to) => from > 0 && to === 0);
  if (freed !== undefined) return `cluster ${freed}, which the snapshot may own, was freed`;
  const [old, now] = [before, after].map((bytes) => parseHeader(new FileBytes(bytes), {}));
  return old?.snapshotCount === now?.snapshotCount ? undefined : "the entry of the snapshot is gone";
};

/** Where only leaks are asked for, no refcount grows. */
const allButLeaks: LeftAlone = (before, after) => {
  const changed = compareRefcounts(before, after, (from, to) => to > from);
  return changed === undefined ? undefined : `the refcount of cluster ${changed} grew`;
};

export const LEFT_ALONE = { ownedByAnyone, allButLeaks } satisfies Record<string, LeftAlone>;
