import { misuse } from "../../misuse.ts";

/** `--head` as 'head' prints it: the digest, and the number of the record behind it. */
export function headOf(option: string | undefined): { readonly head?: string } {
  if (option === undefined) return {};
  const [, head] = /^\s*([0-9a-f]{64})(?:\s+\d+)?\s*$/i.exec(option) ?? [];
  if (head === undefined) throw misuse("--head needs a digest as 'qcowal journal head' prints it");
  return { head };
}
