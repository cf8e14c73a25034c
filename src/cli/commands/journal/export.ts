import { randomUUID } from "node:crypto";
import { open, rename, rm, stat, writeFile } from "node:fs/promises";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Command } from "commander";
import { resolvedPath } from "../../../../journal/index.ts";
import { QcowalError, exportJournal, isQcowalError } from "../../../index.ts";
import { interruptible } from "../../interruption.ts";
import { toJson } from "../../json.ts";
import type { CommonOptions } from "../../options.ts";
import { openTerminal } from "../../terminal.ts";
import { printable } from "../../views/text.ts";
import { openReader, sayTorn } from "./open-reader.ts";
import { withJournalDir } from "./options.ts";

export function addExportCommand(parent: Command): void {
  withJournalDir(parent.command("export"), "say as JSON what was written to a file; errors too")
    .description("write every record as a line of JSON, to read and to import")
    .argument("[file]", "where to write; - is standard output", "-")
    .addHelpText(
      "after",
      `
Each line has number, kind, transaction, time, body and digest of one record, and
its payload, from which 'qcowal journal import' makes the same journal again, byte
by byte. Bytes in a body read {"$base64": "..."}, large numbers {"$bigint": "..."}.
The chain is verified on the way. A file is replaced when all of it is written.

Examples:
  $ qcowal journal export journal.jsonl
  $ qcowal journal export | jq -c 'select(.kind == "begun") | [.time, .body.actor.user]'
  $ qcowal journal export | zstd > /mnt/elsewhere/journal.jsonl.zst`,
    )
    .action(run);
}

async function run(file: string, options: CommonOptions): Promise<void> {
  const terminal = openTerminal(options.quiet === true);
  await using journal = await openReader(options.journal);
  const { digest, sequence } = journal.head;
  terminal.status("exporting ...");
  await interruptible((signal) => {
    const lines = exportJournal(journal, { signal });
    return file === "-" ? toStandardOutput(lines) : toFile(file, lines);
  });
  if (file !== "-" && options.json === true) {
    terminal.data(toJson({ journal: journal.dir, id: journal.id, file, head: { sequence, digest } }));
  }
  terminal.say(`exported ${printable(journal.dir)}; head ${digest} ${sequence}`);
  sayTorn(terminal, journal);
}

type Lines = AsyncGenerator<string>;

async function toStandardOutput(lines: Lines): Promise<void> {
  try {
    await pipeline(Readable.from(lines), process.stdout, { end: false });
  } catch (error) {
    throw unwritable("standard output", error);
  }
}

/** What is there stays until all of the new one is on disk. A device or a pipe is written to as it is. */
async function toFile(file: string, lines: Lines): Promise<void> {
  const path = await resolvedPath(file);
  const found = await stat(path).catch(() => undefined);
  try {
    if (found?.isFile() === false) await writeFile(path, lines);
    // Names of images and people stand in it: for the owner, as the journal is.
    else await replaceFile(path, found === undefined ? 0o600 : found.mode & 0o777, lines);
  } catch (error) {
    throw unwritable(printable(file), error);
  }
}

async function replaceFile(path: string, mode: number, lines: Lines): Promise<void> {
  const temporary = `${path}.${randomUUID().slice(0, 8)}.new`;
  const handle = await open(temporary, "wx", mode);
  try {
    try {
      for await (const line of lines) await handle.appendFile(line);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

function unwritable(name: string, cause: unknown): unknown {
  if (isQcowalError(cause)) return cause;
  const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
  const message = cause instanceof Error ? cause.message : String(cause);
  return new QcowalError(
    code === "ENOSPC" || code === "EDQUOT" ? "NO_SPACE" : "IO_FAILED",
    `${name}: cannot be written: ${message}. The export is not complete; the journal was not changed.`,
    { cause },
  );
}
