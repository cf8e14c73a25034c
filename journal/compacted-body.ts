import type { JournalRecord } from "./record.ts";
import type { Stub } from "./stub.ts";

/** Parts of one transaction that are gone; `digest` is that of the last. */
export type DroppedRun = Pick<Stub, "sequence" | "last" | "transaction" | "digest">;

/** Body of a record of kind `compacted`. */
export interface CompactedBody {
  readonly runs: readonly DroppedRun[];
  /** Length of what was dropped, encoded. */
  readonly bytes: number;
  /** On whose behalf, in the caller's words; null when it was done unasked. */
  readonly by: unknown;
}

export function encodeCompacted({ runs, bytes, by }: CompactedBody): unknown {
  const list = runs.map(({ sequence, last, transaction, digest }) => [sequence, last, transaction, digest]);
  return { runs: list, bytes, by: by ?? null };
}

/** Undefined for a body that is not of this shape. */
export function decodeCompacted({ body }: Pick<JournalRecord, "body">): CompactedBody | undefined {
  if (typeof body !== "object" || body === null || !("runs" in body) || !("bytes" in body)) return undefined;
  const { runs, bytes } = body;
  if (!Array.isArray(runs) || typeof bytes !== "number") return undefined;
  const decoded: DroppedRun[] = [];
  for (const run of runs as unknown[]) {
    if (!Array.isArray(run)) return undefined;
    const [sequence, last, transaction, digest] = run as unknown[];
    if (![sequence, last, transaction].every((field) => Number.isSafeInteger(field))) return undefined;
    if (!(digest instanceof Uint8Array)) return undefined;
    decoded.push({
      sequence: sequence as number,
      last: last as number,
      transaction: transaction as number,
      digest,
    });
  }
  return { runs: decoded, bytes, by: "by" in body ? body.by : null };
}

/** Whether a run is what a stub stands for. */
export const isRunOf = (run: DroppedRun, stub: Stub): boolean =>
  run.sequence === stub.sequence &&
  run.last === stub.last &&
  run.transaction === stub.transaction &&
  Buffer.compare(run.digest, stub.digest) === 0;
