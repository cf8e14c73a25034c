import type { Result } from "../measure/result.ts";
import { atLeast, bytes, ratio, seconds, share } from "./format.ts";

export const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map((_, index) => (index < 2 ? ":--" : "--:")), ...rows]
    .map((cells) => `| ${cells.join(" | ")} |`)
    .join("\n");

/** Times and ratios; larger ratios are better for us, but for those of the floor and of recover. */
export function timesTable(results: readonly Result[]): string {
  const head = [
    "image",
    "operation",
    "qemu-img",
    "qcowal",
    "ratio",
    "in process",
    "ratio",
    "over the floor, as a command / in process",
    "recover over operation",
  ];
  return table(
    head,
    results.map(({ image, operation, ours, peer, inProcess, floor, recover }) => [
      image,
      operation,
      peer === undefined ? "–" : atLeast(peer, seconds(peer.seconds)),
      seconds(ours.seconds),
      peer === undefined ? "–" : atLeast(peer, ratio(peer.seconds / ours.seconds)),
      seconds(inProcess),
      peer === undefined ? "–" : atLeast(peer, ratio(peer.seconds / inProcess)),
      `${ratio(ours.seconds / floor)} / ${ratio(inProcess / floor)}`,
      recover === undefined ? "–" : ratio(recover / ours.seconds),
    ]),
  );
}

/** What it costs beside time; ours / qemu-img's. */
export function costsTable(results: readonly Result[]): string {
  const head = [
    "image",
    "operation",
    "peak memory",
    "read",
    "written",
    "reads",
    "writes",
    "syncs",
    "journal",
    "of what was changed",
  ];
  return table(
    head,
    results.map(({ image, operation, ours, peer }) => {
      const both = (ourCost: string, peerCost: string | undefined): string =>
        `${ourCost} / ${peer === undefined || peer.io.reads === 0 ? "–" : peerCost}`;
      return [
        image,
        operation,
        `${bytes(ours.peakMemory)} / ${peer === undefined ? "–" : bytes(peer.peakMemory)}`,
        both(bytes(ours.io.bytesRead), peer && bytes(peer.io.bytesRead)),
        both(bytes(ours.io.bytesWritten), peer && bytes(peer.io.bytesWritten)),
        both(String(ours.io.reads), peer && String(peer.io.reads)),
        both(String(ours.io.writes), peer && String(peer.io.writes)),
        both(String(ours.io.syncs), peer && String(peer.io.syncs)),
        bytes(ours.io.journalBytes),
        share(ours.io.journalBytes, ours.io.bytesWritten - ours.io.journalBytes),
      ];
    }),
  );
}
