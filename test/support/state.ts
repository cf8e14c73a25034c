import { readFileSync } from "node:fs";
import { FENCE_TEXT } from "../../src/format/index.ts";
import { inspectImage, logicalState } from "./naive-qcow2.ts";
import { visibleIn } from "./model.ts";

/** Everything about an image file that an outcome is judged by. */
export interface ImageState {
  readonly bytes: Buffer;
  readonly fenced: boolean;
  /** What a user can see, dates and ids included, as one comparable text. */
  readonly logical: string;
  /** The same without what the clock decides. */
  readonly visible: string;
  readonly snapshots: readonly { readonly id: string; readonly name: string }[];
  readonly firstCluster: Buffer;
}

export function readState(path: string): ImageState {
  return stateOf(readFileSync(path));
}

export function stateOf(bytes: Buffer): ImageState {
  const report = inspectImage(bytes, { ignoreFence: true });
  return {
    bytes,
    fenced: report.header.fenced,
    logical: JSON.stringify(logicalState(report)),
    visible: JSON.stringify(visibleIn(report)),
    snapshots: report.snapshots.map(({ id, name }) => ({ id, name })),
    firstCluster: bytes.subarray(0, report.header.clusterSize),
  };
}

export const explainsItself = ({ firstCluster }: ImageState): boolean => firstCluster.includes(FENCE_TEXT);
