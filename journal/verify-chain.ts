import { QcowalError } from "../src/errors/index.ts";
import { throwIfAborted } from "./throw-if-aborted.ts";
import { hex } from "./record.ts";
import { type Link, endOf, isStub } from "./stub.ts";
import type { TornTail } from "./tail.ts";

export interface VerifyOptions {
  /** Digest of a record in hex, as `head` was earlier. */
  readonly head?: string;
  /** Ends it with ABORTED. */
  readonly signal?: AbortSignal;
}

/** A chain that is whole. Whether something was set aside behind its end, `tornTail` of the journal says. */
export interface JournalVerdict {
  /** Those that are there. */
  readonly records: number;
  /** Those that compactions have dropped. */
  readonly dropped: number;
  /** Number of the last record. */
  readonly sequence: number;
  /** Its digest in hex: kept elsewhere, it proves later that nothing was edited or cut off. */
  readonly head: string;
  /** The record that has the digest that was asked for, and how many came since. */
  readonly known?: { readonly sequence: number; readonly since: number };
}

interface Chain {
  readonly dir: string;
  readonly tornTail: TornTail | undefined;
  links(): AsyncIterable<Link>;
}

const DIGEST = /^[0-9a-f]{64}$/;

/** @throws TypeError for what cannot be a digest */
export function digestText(text: string): string {
  const digest = text.toLowerCase();
  if (!DIGEST.test(digest)) throw new TypeError("the digest of a record has 64 hexadecimal digits");
  return digest;
}

export async function verifyChain(journal: Chain, options: VerifyOptions): Promise<JournalVerdict> {
  const wanted = options.head === undefined ? undefined : digestText(options.head);
  let [records, dropped] = [0, 0];
  let sequence = 0;
  let head = "";
  let known: number | undefined;
  for await (const link of journal.links()) {
    throwIfAborted(options.signal, "verification");
    if (isStub(link)) dropped += link.last - link.sequence + 1;
    else records += 1;
    sequence = endOf(link);
    head = hex(link.digest);
    if (head === wanted) known = sequence;
  }
  if (wanted === undefined) return { records, dropped, sequence, head };
  if (known === undefined) throw cutOff(journal, { sequence, head }, wanted);
  return { records, dropped, sequence, head, known: { sequence: known, since: sequence - known } };
}

function cutOff(
  { dir, tornTail }: Chain,
  { sequence, head }: { readonly sequence: number; readonly head: string },
  wanted: string,
): QcowalError {
  const torn = tornTail === undefined ? "" : ` What stood behind it is set aside: ${tornTail.reason}.`;
  return new QcowalError(
    "JOURNAL_DAMAGED",
    `${dir}: no record has the digest ${wanted}: the journal was cut off, was written anew, or is another one. It ends with record ${sequence}, digest ${head}.${torn} Nothing was changed.`,
    { details: { journal: dir, sequence, expected: wanted, found: head } },
  );
}
