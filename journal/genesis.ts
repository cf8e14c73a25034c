import type { JournalRecord } from "./record.ts";

/** The journal's id, which its first record carries; undefined when that is another record. */
export function genesisId({ kind, body }: Pick<JournalRecord, "kind" | "body">): string | undefined {
  const id = (body as { readonly id?: unknown } | null)?.id;
  return kind === "genesis" && typeof id === "string" ? id : undefined;
}
