import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdir, readdir, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import {
  type ImportOptions,
  type ImportReport,
  exportJournal,
  importJournal,
  openJournal,
  readJournal,
} from "../../journal/index.ts";
import { encodeLine } from "../../journal/json-line.ts";
import { NO_DIGEST, type RecordKind, decodeRecord, encodeRecord } from "../../journal/record.ts";
import { all } from "../support/all.ts";
import { fill, readLevel, recordsIn, scratch, states } from "./lab.ts";

const ROOT = resolve(import.meta.dirname, "../..");

/** A journal with a bit of everything, and records as large as they come if `large`; its directory and its lines. */
async function exported(large = false): Promise<{ dir: string; lines: readonly string[] }> {
  const dir = await scratch();
  const journal = await openJournal(dir, { create: true });
  await fill(journal);
  await journal.note({
    $base64: "not bytes",
    $$: { deep: [new Uint8Array([0, 255]), null, -1.5, 2 ** 53 - 1] },
    text: '\u0000\u2028 "ä"\n',
    __proto__: "no",
  });
  if (large) {
    await journal.note(new Uint8Array(1_000_000).fill(0xfe));
    await journal.note("\u0001".repeat(1_000_000));
  }
  await journal.close();
  await using reader = await readJournal(dir);
  const lines: string[] = [];
  for await (const line of exportJournal(reader)) lines.push(line);
  return { dir, lines };
}

/** The records that LevelDB holds, by digest: `toEqual` takes seconds for a MiB. */
async function storedIn(dir: string): Promise<Record<string, string>> {
  const content = await readLevel(dir);
  return Object.fromEntries(
    recordsIn(content).map(([key, value]) => [key, createHash("sha256").update(value).digest("hex")]),
  );
}

/** In pieces that end anywhere. */
async function* streamOf(text: string | Uint8Array, size = 7_001): AsyncGenerator<Uint8Array> {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += size) {
    yield await Promise.resolve(bytes.subarray(at, at + size));
  }
}

function importLines(
  lines: readonly string[],
  dir: string,
  options: ImportOptions = {},
): Promise<ImportReport> {
  return importJournal(streamOf(lines.join("")), dir, { name: "x.jsonl", ...options });
}

/** That lines are refused in these words, and that nothing is left of it. */
async function expectRefused(lines: readonly string[], line: number, message: RegExp): Promise<void> {
  const dir = join(await scratch(), "deep", "journal");
  const error: unknown = await importLines(lines, dir).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: "EXPORT_INVALID", details: { line } });
  expect((error as Error).message).toMatch(message);
  expect((error as Error).message).toMatch(
    new RegExp(`^x\\.jsonl, line ${line}: [^]*\\. Nothing was changed\\.$`),
  );
  expect(await readdir(join(dir, "../.."))).toEqual([]);
}

test("an exported journal is imported byte by byte as it was, and goes on", async () => {
  const { dir, lines } = await exported(true);
  const copy = join(await scratch(), "made", "here");
  const progress: number[] = [];
  const report = await importLines(lines, copy, { onProgress: (records) => void progress.push(records) });
  expect(await storedIn(copy)).toEqual(await storedIn(dir));
  expect(progress).toEqual(lines.map((_, index) => index + 1));

  await using original = await openJournal(dir, { create: false });
  await using imported = await openJournal(copy, { create: false });
  expect(report).toEqual({
    journal: copy,
    id: original.id,
    records: lines.length,
    head: original.head.digest,
  });
  expect(imported.id).toBe(original.id);
  expect(imported.tornTail).toBeUndefined();
  expect(imported.pending()).toEqual(original.pending());
  const [committed] = Object.entries(states(imported)).find(([, state]) => state === "committed") ?? [];
  await imported.settle(Number(committed));
  expect(await imported.verify({ head: report.head })).toMatchObject({ known: { since: 1 } });
  expect((await readdir(copy)).toSorted()).toEqual(["id", "leveldb"]);
});

test("lines are read by people and programs: bytes and keys with a dollar are unmistakable", async () => {
  const { lines } = await exported();
  const [first, ...others] = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(first).toMatchObject({ sequence: 1, kind: "genesis", previous: "0".repeat(64) });
  expect(first?.["time"]).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  expect(others[2]).toMatchObject({
    sequence: 4,
    kind: "part",
    transaction: 2,
    body: ["settled", { $base64: "AQID" }],
    previous: others[1]?.["digest"],
  });
  const note = others.find(({ kind, body }) => kind === "note" && typeof body === "object");
  expect(note?.["body"]).toMatchObject({
    $$base64: "not bytes",
    $$$: { deep: [{ $base64: "AP8=" }, null, -1.5, 2 ** 53 - 1] },
  });
});

test("fields in another order and without the last line end are the same", async () => {
  const { dir, lines } = await exported();
  const turned = lines.map((line) => {
    const fields = Object.entries(JSON.parse(line) as Record<string, unknown>);
    return `${JSON.stringify(Object.fromEntries(fields.toReversed()), null, " ").replaceAll("\n", "")}\n`;
  });
  const copy = await scratch();
  await importLines([turned.join("").trimEnd()], copy);
  expect(await storedIn(copy)).toEqual(await storedIn(dir));
});

describe("an import is refused, with the line,", () => {
  test("whatever line is missing, doubled, or in the place of another", async () => {
    const { lines } = await exported();
    const some = lines.slice(0, 7);
    for (let at = 0; at < some.length - 1; at += 1) {
      await expectRefused(some.toSpliced(at, 1), at + 1, /it is record \d+, expected record/);
      const doubled = some.toSpliced(at, 0, some[at] ?? "");
      await expectRefused(doubled, at + 2, /it is record \d+, expected record/);
      const swapped = some.with(at, some[at + 1] ?? "").with(at + 1, some[at] ?? "");
      await expectRefused(swapped, at + 1, /it is record \d+, expected record/);
    }
  });

  test("whatever field of a line was edited, taken away or added", async () => {
    const { lines } = await exported();
    const fields = JSON.parse(lines[3] ?? "") as Record<string, unknown>;
    const edited = (change: Record<string, unknown>): readonly string[] =>
      lines.slice(0, 6).with(3, `${JSON.stringify({ ...fields, ...change })}\n`);
    for (const [name, value] of Object.entries(fields)) {
      const other = typeof value === "string" ? value.replace(/[0-9a-z]/, (c) => (c === "0" ? "1" : "0")) : 7;
      await expectRefused(edited({ [name]: other }), 4, /./);
      await expectRefused(edited({ [name]: undefined }), 4, /./);
    }
    await expectRefused(
      edited({ body: ["settled", { $base64: "AQIE" }] }),
      4,
      /"body" is not what its payload/,
    );
    await expectRefused(edited({ more: 1 }), 4, /a field "more" that no record has/);
    await expectRefused(edited({ format: 3 }), 4, /format 3 is newer/);
    await expectRefused(edited({ payload: `${String(fields["payload"])}!` }), 4, /payload is not base64/);
    await expectRefused(edited({ digest: String(fields["digest"]).toUpperCase() }), 4, /digest is not hex/);
  });

  test("what is no export at all", async () => {
    await expectRefused([], 1, /there is no record/);
    await expectRefused(["\n"], 1, /not JSON/);
    await expectRefused(["[1]\n"], 1, /not a record/);
    await expectRefused(["null"], 1, /not a record/);
    await expectRefused(["{}"], 1, /not a record/);
    await expectRefused([`{"format":1,"body":${"[".repeat(2_000_000)}`], 1, /not JSON|too deeply/);
    const { lines } = await exported();
    const deep = `${"[".repeat(200_000)}${"]".repeat(200_000)}`;
    await expectRefused([(lines[0] ?? "").replace(/"body":\{.*?\}/, `"body":${deep}`)], 1, /body|too deeply/);
    await expectRefused([lines[0] ?? "", "x".repeat(17 * 1024 * 1024)], 2, /more than \d+ bytes/);
  });

  test("bytes that are not UTF-8", async () => {
    const { lines } = await exported();
    const bytes = Buffer.concat([Buffer.from(lines[0] ?? ""), Buffer.from([0x22, 0xff, 0x22])]);
    const dir = join(await scratch(), "none");
    await expect(importJournal(streamOf(bytes), dir)).rejects.toMatchObject({
      code: "EXPORT_INVALID",
      details: { line: 2 },
      message: expect.stringContaining("not UTF-8"),
    });
  });

  /** Lines of a chain that is whole, made by somebody who knows the format. */
  function forged(
    records: readonly { kind: RecordKind; transaction?: number; low: number; body?: unknown }[],
  ): string[] {
    let previous: Uint8Array = NO_DIGEST;
    return records.map(({ kind, transaction = 0, low, body = null }, index) => {
      const { value, digest } = encodeRecord({
        sequence: index + 1,
        kind,
        transaction,
        time: 0,
        low,
        body,
        previous,
      });
      previous = digest;
      return `${encodeLine(decodeRecord(value))}\n`;
    });
  }

  const GENESIS = { kind: "genesis", low: 2, body: { id: "0".repeat(36) } } as const;

  test("a chain that no journal writes, although every digest is right", async () => {
    await importLines(forged([GENESIS, { kind: "note", low: 3 }]), join(await scratch(), "well"));
    const begun = { kind: "begun", transaction: 2, low: 2 } as const;
    await expectRefused(forged([{ kind: "note", low: 2 }]), 1, /not a genesis record/);
    await expectRefused(forged([{ ...GENESIS, body: { id: "../../etc" } }]), 1, /not a genesis record/);
    await expectRefused(forged([GENESIS, { ...GENESIS, low: 3 }]), 2, /second genesis/);
    await expectRefused(forged([GENESIS, { kind: "note", low: 999 }]), 2, /"low" is 999, expected 3/);
    await expectRefused(forged([GENESIS, begun, { kind: "note", low: 4 }]), 3, /"low" is 4, expected 2/);
    await expectRefused(forged([GENESIS, { ...begun, transaction: 9 }]), 2, /begins transaction 9/);
    await expectRefused(forged([GENESIS, { kind: "committed", transaction: 7, low: 3 }]), 2, /out of order/);
    await expectRefused(
      forged([GENESIS, begun, { kind: "settled", transaction: 2, low: 4 }]),
      3,
      /settled record of transaction 2, out of order/,
    );
  });
});

describe("an import leaves nothing,", () => {
  test("and whose end is not there although its head was kept, does not succeed", async () => {
    const { dir, lines } = await exported();
    await using reader = await readJournal(dir);
    const head = reader.head.digest;
    const copy = join(await scratch(), "copy");
    await expect(importLines(lines.slice(0, -1), copy, { head })).rejects.toMatchObject({
      code: "JOURNAL_DAMAGED",
      details: { expected: head, sequence: lines.length - 1 },
    });
    expect(await readdir(join(copy, ".."))).toEqual([]);
    await importLines(lines, copy, { head });
  });

  test("when its source fails or it is called off", async () => {
    const { lines } = await exported();
    async function* failing(): AsyncGenerator<Uint8Array> {
      yield* streamOf(lines.slice(0, 5).join(""));
      throw new Error("the network is down");
    }
    const dir = join(await scratch(), "copy");
    await expect(importJournal(failing(), dir, { name: "y" })).rejects.toMatchObject({
      code: "IO_FAILED",
      message: "y: cannot be read: the network is down. Nothing was changed.",
    });
    const controller = new AbortController();
    const called = importLines(lines, dir, {
      signal: controller.signal,
      onProgress: (records) => void (records === 6 && controller.abort("SIGINT")),
    });
    await expect(called).rejects.toMatchObject({ code: "ABORTED", cause: "SIGINT" });
    expect(await readdir(join(dir, ".."))).toEqual([]);
  });

  test("and an export or a verification that is called off says so", async () => {
    const { dir } = await exported();
    await using reader = await readJournal(dir);
    const signal = AbortSignal.abort("SIGTERM");
    const expected = { code: "ABORTED", cause: "SIGTERM" };
    await expect(reader.verify({ signal })).rejects.toMatchObject(expected);
    await expect(exportJournal(reader, { signal }).next()).rejects.toMatchObject(expected);
  });

  test("when it is killed; the next one takes its place", async () => {
    const { lines } = await exported();
    const dir = await scratch();
    const script = `import { importJournal } from ${JSON.stringify(join(ROOT, "journal/index.ts"))};
await importJournal(process.stdin, ${JSON.stringify(dir)}, { onProgress: (records) => console.log(records) });`;
    const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", script], {
      cwd: ROOT,
      stdio: ["pipe", "pipe", "inherit"],
    });
    onTestFinished(() => void child.kill("SIGKILL"));
    child.stdin.write(lines.slice(0, 9).join(""));
    await once(child.stdout, "data");
    child.kill("SIGKILL");
    await once(child, "exit");
    await expect(openJournal(dir, { create: false })).rejects.toMatchObject({ code: "JOURNAL_NOT_FOUND" });
    expect(await readdir(dir)).toHaveLength(1);
    await importLines(lines, dir);
    expect((await readdir(dir)).toSorted()).toEqual(["id", "leveldb"]);
  });

  test("where there is a journal: that one stays as it is", async () => {
    const { dir, lines } = await exported();
    const before = await storedIn(dir);
    await expect(importLines(lines, dir)).rejects.toMatchObject({ code: "JOURNAL_EXISTS" });
    const made = await scratch();
    async function* overtaken(): AsyncGenerator<Uint8Array> {
      yield* streamOf(lines.join(""));
      await (await openJournal(made, { create: true })).close();
    }
    await expect(importJournal(overtaken(), made)).rejects.toMatchObject({ code: "JOURNAL_EXISTS" });
    await using other = await openJournal(made, { create: false });
    expect(await other.verify()).toMatchObject({ records: 1 });
    expect(await readdir(made)).toEqual(["id", "leveldb"]);
    expect(await storedIn(dir)).toEqual(before);
  });
});

test("a journal that has lost its database is restored in its place, another one's not", async () => {
  const { dir, lines } = await exported();
  const before = await storedIn(dir);
  const other = await exported();
  await rm(join(dir, "leveldb"), { recursive: true });
  await expect(importLines(other.lines, dir)).rejects.toMatchObject({
    code: "JOURNAL_EXISTS",
    message: expect.stringContaining("of another journal"),
  });
  await importLines(lines, dir);
  expect(await storedIn(dir)).toEqual(before);
  await mkdir(join(other.dir, "empty"));
  await expect(importLines(lines, join(other.dir, "empty"))).resolves.toMatchObject({
    records: lines.length,
  });
});

test("what a compaction dropped goes on missing, and is held against what the compaction says", async () => {
  const dir = await scratch();
  const journal = await openJournal(dir, { create: true });
  await fill(journal);
  await journal.compact({ by: "me" });
  const verdict = await journal.verify();
  expect(verdict.dropped).toBeGreaterThan(0);
  const lines = await all(exportJournal(journal));
  await journal.close();
  const copy = join(await scratch(), "copy");
  await importLines(lines, copy);
  {
    await using imported = await openJournal(copy, { create: false });
    expect(await imported.verify()).toEqual(verdict);
    expect(await all(imported.links())).toHaveLength(lines.length);
  }
  const at = lines.findIndex((line) => line.startsWith('{"format":2'));
  const stub = JSON.parse(lines[at] ?? "") as { last: number; transaction: number };
  for (const edited of [{ last: stub.last + 1 }, { transaction: 1 }, { compaction: 3 }, { more: 1 }]) {
    const forged = lines.with(at, `${JSON.stringify({ ...stub, ...edited })}\n`);
    await expect(
      importLines(forged, join(await scratch(), "forged")),
      JSON.stringify(edited),
    ).rejects.toMatchObject({
      code: expect.stringMatching(/EXPORT_INVALID|JOURNAL_DAMAGED/),
    });
  }
});
