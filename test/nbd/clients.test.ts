import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { NbdExport } from "../../src/nbd/index.ts";
import { must, run } from "../support/programs.ts";
import { checkeredDisk } from "./support/guest-disk.ts";
import { useServers } from "./support/serving.ts";

const MIB = 1024 * 1024;
const disk = checkeredDisk(24 * MIB, 64 * 1024, 1);
/** Neither a whole number of sectors nor of clusters. */
const odd = checkeredDisk(3 * MIB + 1001, 4096, 2);

const exports: NbdExport[] = [
  {
    name: "web@before-upgrade",
    description: "snapshot before-upgrade of web.qcow2",
    disk,
    changedSince: [
      {
        name: "monday",
        async *ranges(offset, length) {
          const half = Math.min(Math.max(8 * MIB - offset, 0), length);
          if (half > 0) yield { offset, length: half, changed: false };
          if (half < length) yield { offset: offset + half, length: length - half, changed: true };
        },
      },
    ],
  },
  { name: "odd größe", disk: odd },
];

const { dir, start } = useServers();
const onSocket = () => start({ exports, listen: { socket: join(dir, "s") } });

interface MapEntry {
  readonly offset: number;
  readonly length: number;
  readonly type: number;
}

/** What base:allocation has to be, from the content's own extents. */
async function allocation(): Promise<MapEntry[]> {
  const entries: { offset: number; length: number; type: number }[] = [];
  for await (const { offset, length, kind } of disk.extents(0, disk.size)) {
    const type = kind === "hole" || kind === "zero" ? 3 : 0;
    const last = entries.at(-1);
    if (last?.type === type) last.length += length;
    else entries.push({ offset, length, type });
  }
  return entries;
}

test("nbdinfo lists every export with what it is and can do", async () => {
  const { server } = await onSocket();
  const list = JSON.parse(await must("nbdinfo", ["--list", "--json", server.uri("")])) as {
    exports: Record<string, unknown>[];
  };
  expect(list.exports).toMatchObject([
    {
      "export-name": "web@before-upgrade",
      description: "snapshot before-upgrade of web.qcow2",
      "export-size": disk.size,
      is_read_only: true,
      can_multi_conn: true,
      can_df: true,
      can_cache: true,
      can_flush: false,
      can_trim: false,
      block_size_minimum: 1,
      block_size_preferred: 65536,
      block_size_maximum: 32 * MIB,
      contexts: ["base:allocation", "qcowal:changed:monday"],
    },
    { "export-name": "odd größe", "export-size": odd.size, contexts: ["base:allocation"] },
  ]);
});

test("nbdinfo maps allocation and what changed", async () => {
  const { server } = await onSocket();
  const uri = server.uri("web@before-upgrade");
  expect(JSON.parse(await must("nbdinfo", ["--map", "--json", uri]))).toMatchObject(await allocation());
  expect(JSON.parse(await must("nbdinfo", ["--map=qcowal:changed:monday", "--json", uri]))).toMatchObject([
    { offset: 0, length: 8 * MIB, type: 0 },
    { offset: 8 * MIB, length: 16 * MIB, type: 1 },
  ]);
});

test.each(exports.map(({ name }) => name))("nbdcopy copies %s byte by byte", async (name) => {
  const { server } = await start({ exports });
  const target = join(dir, "copy");
  await must("nbdcopy", [server.uri(name), target]);
  const content =
    exports.find((candidate) => candidate.name === name)?.disk === odd ? odd.content : disk.content;
  expect((await readFile(target)).equals(content)).toBe(true);
});

test("qemu-img compares, maps and converts what is served", async () => {
  const { server } = await onSocket();
  const uri = server.uri("web@before-upgrade");
  const raw = join(dir, "raw");
  await writeFile(raw, disk.content);
  expect(await must("qemu-img", ["compare", "-f", "raw", "-F", "raw", uri, raw])).toContain("identical");
  await must("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", uri, join(dir, "converted")]);
  await must("qemu-img", ["compare", "-f", "qcow2", "-F", "raw", join(dir, "converted"), raw]);
  const map = JSON.parse(await must("qemu-img", ["map", "--output=json", "-f", "raw", uri])) as {
    start: number;
    length: number;
    zero: boolean;
    data: boolean;
  }[];
  expect(map.map(({ start, length, zero, data }) => ({ start, length, zero, data }))).toEqual(
    (await allocation()).map(({ offset, length, type }) => ({
      start: offset,
      length,
      zero: type === 3,
      data: type === 0,
    })),
  );
  const oddRaw = join(dir, "odd");
  await writeFile(oddRaw, odd.content);
  await must("qemu-img", ["compare", "-f", "raw", "-F", "raw", server.uri("odd größe"), oddRaw]);
});

test("qemu-io reads, and cannot write", async () => {
  const { server } = await onSocket();
  const uri = server.uri("web@before-upgrade");
  expect(await must("qemu-io", ["-r", "-f", "raw", "-c", "read 1M 3M", uri])).toContain(
    "read 3145728/3145728",
  );
  const { code, stderr } = await run("qemu-io", ["-f", "raw", "-c", "write 0 512", uri]);
  expect(code).toBe(1);
  expect(stderr).toMatch(/Permission denied/);
});

test("fio reads at random, many requests at a time", async () => {
  const { server } = await onSocket();
  const job = ["--name=nbd", "--ioengine=nbd", `--uri=${server.uri("web@before-upgrade")}`];
  const load = ["--rw=randread", "--bsrange=512-256k", "--iodepth=32", "--size=24M", "--io_size=48M"];
  const out = await must("fio", [...job, ...load, "--output-format=json"], { cwd: dir });
  const { jobs } = JSON.parse(out.slice(out.indexOf("{"))) as {
    jobs: { error: number; read: { io_bytes: number } }[];
  };
  expect(jobs[0]).toMatchObject({ error: 0 });
  expect(jobs[0]?.read.io_bytes).toBeGreaterThanOrEqual(40 * MIB);
});

test("libnbd's own checks find nothing to object to", async () => {
  const { server } = await onSocket();
  const script = `
import errno, os
h = nbd.NBD()
h.add_meta_context("base:allocation")
h.add_meta_context("qcowal:changed:monday")
h.connect_uri(os.environ["URI"])
assert h.is_read_only() and h.can_meta_context("qcowal:changed:monday")
h.set_strict_mode(0)
def fails(action, *wanted):
    try:
        action()
    except nbd.Error as error:
        assert error.errnum in wanted, (error.errnum, wanted)
    else:
        raise AssertionError("did not fail")
size = h.get_size()
fails(lambda: h.pwrite(b"x" * 512, 0), errno.EPERM)
fails(lambda: h.zero(512, 0), errno.EPERM)
fails(lambda: h.trim(512, 0), errno.EPERM)
fails(lambda: h.flush(), errno.EINVAL)
fails(lambda: h.pread(512, size - 511), errno.EINVAL)
fails(lambda: h.pread(512, 1 << 62), errno.EINVAL)
h.cache(65536, 0)
assert len(h.pread(20 << 20, 4097)) == 20 << 20
assert h.pread(20 << 20, 4097) == h.pread(20 << 20, 4097, nbd.CMD_FLAG_DF)
one = []
h.block_status(size, 0, lambda context, offset, entries, error: one.append((context, len(entries))), nbd.CMD_FLAG_REQ_ONE)
assert one == [("base:allocation", 2), ("qcowal:changed:monday", 2)], one
plain = nbd.NBD()
plain.set_request_structured_replies(False)
plain.connect_uri(os.environ["URI"])
assert not plain.get_structured_replies_negotiated()
assert plain.pread(3 << 20, 12345) == h.pread(3 << 20, 12345)
plain.shutdown()
h.shutdown()
print("fine")
`;
  const uri = server.uri("web@before-upgrade");
  // nbdsh takes the first python3 there is, which need not be the system's, that has the module.
  const env = { URI: uri, PATH: `/usr/bin:${process.env["PATH"]}` };
  expect(await must("nbdsh", ["-c", script], { env })).toContain("fine");
});
