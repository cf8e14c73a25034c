import { QcowalError } from "../errors/index.ts";
import { MAX_L1_ENTRIES, guestOffset, l1EntriesFor } from "../format/index.ts";
import type { Image, L1Location } from "../image/index.ts";
import { hasBackingFile } from "./collect-received.ts";
import type { Draft } from "./draft.ts";
import type { ReceiveOperation } from "./operation.ts";
import { pinned } from "./revert.ts";
import type { Step } from "./step.ts";

const SECTOR = 512;

/** In the place of a stored table's offset: the one that is made of a stream is stored nowhere yet. */
const NOWHERE = -1;

export const isReceived = ({ offset }: L1Location): boolean => offset === NOWHERE;

/** The active layer holds what a stream leads to; which that is, `collectReceived` finds out. */
export function receive(draft: Draft, operation: ReceiveOperation, image: Image): Step {
  const { geometry } = image.header;
  const from = draft.virtualSize;
  const to = operation.to.size;
  if (!draft.active.stored) throw new TypeError("a receive comes before what else changes the disk");
  const entries = Math.max(draft.active.entries, l1EntriesFor(geometry, to));
  const isResized = to !== from;
  return {
    draft: {
      ...draft,
      virtualSize: guestOffset(to),
      active: { contents: { offset: NOWHERE, entries }, stored: false, entries },
      snapshots: isResized ? draft.snapshots.map((snapshot) => pinned(snapshot, from)) : draft.snapshots,
    },
    outcome: {
      type: "receive",
      stream: operation.stream,
      from: operation.from,
      to: operation.to,
      ...(isResized ? { resized: { from, to } } : {}),
    },
  };
}

/** @throws QcowalError IMAGE_UNSUPPORTED, LIMIT_EXCEEDED for what cannot be right, whatever is received */
export function refuseReceive(draft: Draft, { image: path, to }: ReceiveOperation, image: Image): void {
  const from = draft.virtualSize;
  const unsupported = (why: string): QcowalError =>
    new QcowalError("IMAGE_UNSUPPORTED", `${path} ${why} Nothing was changed.`);
  if (image.header.cryptMethod !== 0) {
    throw unsupported("is encrypted: what is received would have to be encrypted with its key.");
  }
  if (draft.bitmaps > 0) {
    throw unsupported(
      `has ${draft.bitmaps} persistent bitmap(s), which know nothing of what is received; remove them first ('qemu-img bitmap --remove').`,
    );
  }
  if (to.size === from) return;
  if (to.size > from && hasBackingFile(image)) {
    throw unsupported(
      `has a backing file, and its disk would grow from ${from} to ${to.size} bytes: what the backing file has there would show through.`,
    );
  }
  if (to.size % SECTOR !== 0) {
    throw unsupported(`cannot have a disk of ${to.size} bytes: they are no whole sectors.`);
  }
  if (l1EntriesFor(image.header.geometry, to.size) > MAX_L1_ENTRIES) {
    throw new QcowalError(
      "LIMIT_EXCEEDED",
      `${path}: an L1 table cannot map a disk of ${to.size} bytes with clusters of ${image.header.geometry.clusterSize}. Nothing was changed; receive it into an image with larger clusters.`,
    );
  }
}
