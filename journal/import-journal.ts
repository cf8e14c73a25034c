import { mkdir, rmdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { QcowalError, reasonOf, withNothingChanged } from "../src/errors/index.ts";
import { leaveBirthMark, readBirthMark } from "./birth-mark.ts";
import { GENESIS, keyOf } from "./chain.ts";
import { genesisId } from "./genesis.ts";
import { openJournalOn } from "./open-journal-on.ts";
import { KEEP_ALL } from "./retention.ts";
import { endOf, isStub, type Link } from "./stub.ts";
import { decodeLine } from "./json-line.ts";
import { makeLevelStore } from "./level-store.ts";
import { LineError, linesOf } from "./lines.ts";
import { LEVEL_DIR, journalExists } from "./open-journal.ts";
import { NO_DIGEST, RecordError, type StoredRecord, hex } from "./record.ts";
import { resolvedPath } from "./resolved-path.ts";
import type { Store } from "./store.ts";
import { throwIfAborted } from "./throw-if-aborted.ts";
import { Transactions } from "./transactions.ts";
import { digestText } from "./verify-chain.ts";

/** A record has 1 MiB at most. Its text is longest where each byte becomes `\u00xx`, with the payload in base64 beside it. */
const MAX_LINE_BYTES = 16 * 1024 * 1024;

/** As every journal was given one. */
const ID = /^[0-9a-f-]{36}$/;

export interface ImportOptions {
  /** Digest of a record that has to be there: a stream that was cut off between two lines looks whole. */
  readonly head?: string;
  /** What the lines come from, for errors. */
  readonly name?: string;
  /** Ends the import with ABORTED. */
  readonly signal?: AbortSignal;
  /** Told how many records are done. */
  readonly onProgress?: (records: number) => void;
}

export interface ImportReport {
  /** Absolute path of the journal that was made. */
  readonly journal: string;
  /** Of the journal that was exported. */
  readonly id: string;
  readonly records: number;
  /** Digest of the last record in hex. */
  readonly head: string;
}

/**
 * Makes a journal from what `exportJournal` wrote, byte by byte as it was, with
 * the same id. Every digest and the chain are verified. The journal is there when
 * all of it is durable, or nothing of it. Memory: one record.
 * @throws QcowalError EXPORT_INVALID with `line` in its details, JOURNAL_EXISTS, JOURNAL_DAMAGED when no record has the
 * digest `head`, ABORTED, NO_SPACE, IO_FAILED
 */
export async function importJournal(
  source: AsyncIterable<Uint8Array>,
  path: string,
  options: ImportOptions = {},
): Promise<ImportReport> {
  const wanted = options.head === undefined ? undefined : digestText(options.head);
  const dir = await resolvedPath(path);
  if (await journalExists(dir)) throw exists(dir);
  const born = await readBirthMark(dir);
  // The first that had to be made: a failed import leaves no empty folders.
  const made = await mkdir(dir, { recursive: true }).catch(() => undefined);
  const chain = new ImportedChain(options.name ?? "the import");
  const fill = async (store: Store): Promise<void> => {
    for await (const { number, line } of chain.linesOf(source)) {
      throwIfAborted(options.signal, "import");
      await store.put([chain.accept(number, line, wanted)], false);
      options.onProgress?.(number);
    }
    chain.assertComplete(wanted);
    if (born !== undefined && born !== chain.id) throw exists(dir, born);
    // Also holds what was dropped against what the records of compactions say.
    await (await openJournalOn(store, { dir, create: false, retention: KEEP_ALL }))?.verify();
  };
  try {
    if (!(await makeLevelStore(join(dir, LEVEL_DIR), fill))) throw exists(dir);
  } catch (error) {
    if (made !== undefined) await removeEmpty(dir, made);
    throwIfAborted(options.signal, "import");
    throw withNothingChanged(error);
  }
  // As when it is made anew: where it cannot be left, the journal is as good.
  await leaveBirthMark(dir, chain.id).catch(() => undefined);
  return { journal: dir, id: chain.id, records: chain.records, head: chain.head };
}

/** The chain as it comes, line by line: what may come next, and what all of it has to be in the end. */
class ImportedChain {
  id = "";
  records = 0;
  readonly #name: string;
  readonly #transactions = new Transactions();
  #next = GENESIS;
  #digest: Uint8Array = NO_DIGEST;
  #known = false;

  constructor(name: string) {
    this.#name = name;
  }

  get head(): string {
    return hex(this.#digest);
  }

  async *linesOf(source: AsyncIterable<Uint8Array>): AsyncGenerator<{ number: number; line: string }> {
    try {
      for await (const { number, text } of linesOf(source, MAX_LINE_BYTES)) yield { number, line: text };
    } catch (error) {
      if (error instanceof LineError) throw this.#invalid(error.line, error.message);
      if (error instanceof QcowalError) throw error;
      const message = `${this.#name}: cannot be read: ${reasonOf(error)} Nothing was changed.`;
      throw new QcowalError("IO_FAILED", message, { cause: error });
    }
  }

  /** What to store for a line. */
  accept(
    number: number,
    line: string,
    wanted: string | undefined,
  ): readonly [key: string, value: Uint8Array] {
    try {
      const { link, value } = decodeLine(line);
      this.#follow(link);
      this.#next = endOf(link) + 1;
      this.#digest = link.digest;
      this.records += 1;
      if (this.head === wanted) this.#known = true;
      return [keyOf(link.sequence), value];
    } catch (error) {
      if (!(error instanceof RecordError)) throw error;
      throw this.#invalid(number, error.message, { ...error.digests });
    }
  }

  assertComplete(wanted: string | undefined): void {
    if (this.records === 0) throw this.#invalid(1, "there is no record");
    if (wanted === undefined || this.#known) return;
    throw new QcowalError(
      "JOURNAL_DAMAGED",
      `${this.#name}: no record has the digest ${wanted}: it was cut off, or is another journal. It ends with record ${this.#next - 1}, digest ${this.head}. Nothing was changed.`,
      { details: { sequence: this.#next - 1, expected: wanted, found: this.head } },
    );
  }

  #follow(link: Link): void {
    const { sequence, previous } = link;
    if (sequence !== this.#next) {
      throw new RecordError(`it is record ${sequence}, expected record ${this.#next}`);
    }
    if (Buffer.compare(previous, this.#digest) !== 0) {
      throw new RecordError(`it follows ${hex(previous)}, expected ${this.head}: the chain is broken`, {
        digests: { expected: this.head, found: hex(previous) },
      });
    }
    if (isStub(link)) {
      const part = { kind: "part", transaction: link.transaction } as const;
      if (!this.#transactions.allows(part)) {
        throw new RecordError(`it stands for parts of transaction ${link.transaction}, out of order`);
      }
      return;
    }
    const record = link;
    if (sequence === GENESIS) this.id = idOf(record);
    else if (record.kind === "genesis") throw new RecordError("it is a second genesis record");
    if (record.kind === "begun" && record.transaction !== sequence) {
      throw new RecordError(`it begins transaction ${record.transaction}, which is not its own number`);
    }
    if (!this.#transactions.allows(record)) {
      throw new RecordError(
        `it is a ${record.kind} record of transaction ${record.transaction}, out of order`,
      );
    }
    this.#transactions.apply(record, record.size);
    // Opening relies on it.
    const expected = this.#transactions.oldest ?? sequence + 1;
    if (record.low !== expected) throw new RecordError(`its "low" is ${record.low}, expected ${expected}`);
  }

  #invalid(line: number, what: string, more: Readonly<Record<string, unknown>> = {}): QcowalError {
    return new QcowalError("EXPORT_INVALID", `${this.#name}, line ${line}: ${what}. Nothing was changed.`, {
      details: { line, ...more },
    });
  }
}

function idOf(record: StoredRecord): string {
  const id = genesisId(record);
  if (id === undefined || !ID.test(id)) throw new RecordError("it is not a genesis record");
  return id;
}

function exists(dir: string, id?: string): QcowalError {
  const what =
    id === undefined ? "there is a journal already" : `what is left here is of another journal (${id})`;
  return new QcowalError(
    "JOURNAL_EXISTS",
    `${dir}: ${what}. Nothing was changed; import to another directory.`,
    { details: { journal: dir } },
  );
}

async function removeEmpty(dir: string, first: string): Promise<void> {
  for (let at = dir; ; at = dirname(at)) {
    try {
      await rmdir(at);
    } catch {
      // Somebody has put something into it.
      return;
    }
    if (at === first) return;
  }
}
