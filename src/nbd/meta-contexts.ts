import { AllocationFlag } from "./constants.ts";
import { type NbdExport, changedContext } from "./nbd-export.ts";

/** A range of a disk and what a context says of it. */
export interface Status {
  readonly length: number;
  readonly flags: number;
}

export interface MetaContext {
  readonly name: string;
  /** In order and without gaps. */
  status(offset: number, length: number): AsyncIterable<Status>;
}

/** Everything that can be asked of an export, in the order in which it is listed. */
export function contextsOf({ disk, changedSince = [] }: NbdExport): MetaContext[] {
  return [
    {
      name: "base:allocation",
      async *status(offset, length) {
        for await (const extent of disk.extents(offset, length)) {
          const stored = extent.kind === "data" || extent.kind === "compressed";
          // A zero cluster is a hole as well, as qemu-nbd has it: it has no content of its own.
          yield {
            length: extent.length,
            flags: stored ? 0 : AllocationFlag.hole | AllocationFlag.zero,
          };
        }
      },
    },
    ...changedSince.map((since): MetaContext => ({
      name: changedContext(since.name),
      async *status(offset, length) {
        for await (const range of since.ranges(offset, length))
          yield { length: range.length, flags: range.changed ? 1 : 0 };
      },
    })),
  ];
}

/**
 * The contexts that the queries name, each once. A name selects its context; in
 * a listing the beginning of a name that ends in a colon selects what begins
 * with it, and no query selects everything.
 */
export function selectContexts(
  contexts: readonly MetaContext[],
  queries: readonly string[],
  listing: boolean,
): MetaContext[] {
  if (listing && queries.length === 0) return [...contexts];
  return contexts.filter(({ name }) =>
    queries.some((query) => query === name || (listing && query.endsWith(":") && name.startsWith(query))),
  );
}
