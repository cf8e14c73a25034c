import { damaged } from "./chain.ts";
import { decodeCompacted, isRunOf } from "./compacted-body.ts";
import { type Link, type Stub, isStub } from "./stub.ts";

/**
 * Holds what was dropped against what the records of compactions say, on a walk
 * over the whole chain. Whoever takes records away can link the rest of the
 * chain, but not put a record of it into the chain.
 */
export class DroppedRuns {
  readonly #dir: string;
  /** Those that no record has named yet, by their first sequence. */
  readonly #unnamed = new Map<number, Stub>();

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** @throws QcowalError JOURNAL_DAMAGED when a compaction names what was not dropped */
  see(link: Link): void {
    if (isStub(link)) {
      this.#unnamed.set(link.sequence, link);
      return;
    }
    if (link.kind !== "compacted") return;
    const body = decodeCompacted(link);
    if (body === undefined) throw damaged(this.#dir, link.sequence, "is no record of a compaction");
    for (const run of body.runs) {
      const stub = this.#unnamed.get(run.sequence);
      if (stub === undefined || stub.compaction !== link.sequence || !isRunOf(run, stub)) {
        throw damaged(
          this.#dir,
          run.sequence,
          `is not as the compaction in record ${link.sequence} has left it`,
        );
      }
      this.#unnamed.delete(run.sequence);
    }
  }

  /** @throws QcowalError JOURNAL_DAMAGED when something was dropped and no record says so */
  end(): void {
    for (const { sequence, last } of this.#unnamed.values()) {
      const which = last === sequence ? "was dropped" : `was dropped, with those to ${last}`;
      throw damaged(this.#dir, sequence, `${which}, and no record of a compaction names it`);
    }
  }
}
