import type { Header } from "../format/index.ts";
import type { RefcountChanges } from "./refcount-changes.ts";

/** A part of the file. */
export interface StoredBytes {
  readonly offset: number;
  readonly length: number;
}

/** Takes back one reference to each cluster of the window in which some of these bytes lie. */
export function release(changes: RefcountChanges, places: readonly StoredBytes[]): void {
  const { clusterSize } = changes.stored.geometry;
  for (const { offset, length } of places) {
    for (let at = offset; at < offset + length; at += clusterSize) {
      const cluster = Math.floor(at / clusterSize);
      if (changes.covers(cluster)) changes.addReferences(cluster, -1);
    }
  }
}

/** The same for what may never have been counted, and is mended by that. */
export function giveUp(changes: RefcountChanges, places: readonly StoredBytes[]): void {
  const { clusterSize } = changes.stored.geometry;
  for (const { offset, length } of places) {
    for (let at = offset; at < offset + length; at += clusterSize) {
      if (changes.covers(at / clusterSize)) changes.add(at / clusterSize, -1);
    }
  }
}

export const refcountTableOf = ({
  refcountTableOffset,
  refcountTableClusters,
  geometry,
}: Header): StoredBytes => ({
  offset: refcountTableOffset,
  length: refcountTableClusters * geometry.clusterSize,
});
