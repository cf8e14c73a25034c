/** What the read side says of images that are not as any other: each command reads them, or refuses in clear words, and leaves nothing. */
import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import {
  type ErrorCode,
  cloneImage,
  diffSnapshots,
  openView,
  sendSnapshot,
  serveImages,
  writeRaw,
} from "../../src/index.ts";
import { makeImage } from "../../tools/image-maker/index.ts";
import { SPEC } from "../cli/lab.ts";
import { createEncrypted, createImage, io, requireQemu, snapshotCreate, tempDir } from "../support/qemu.ts";
import { must } from "../support/programs.ts";
import { all } from "./lab.ts";

beforeAll(requireQemu);

const DIRTY = 1;
const CORRUPT = 2;
const FENCED = 0x40;

/** With a byte of its incompatible features set: the last one, or the first. */
async function marked(path: string, at: 72 | 79, bits: number): Promise<void> {
  const bytes = Buffer.from(makeImage(SPEC));
  bytes[at] = (bytes[at] ?? 0) | bits;
  await writeFile(path, bytes);
}

type Reader = "view" | "view of a snapshot" | "export" | "map" | "diff" | "send" | "clone" | "serve";

const READERS: Readonly<Record<Reader, (image: string, dir: string) => Promise<unknown>>> = {
  async view(image) {
    await using view = await openView(image);
    await view.read(0, Buffer.alloc(512));
  },
  async "view of a snapshot"(image) {
    await using view = await openView(image, { snapshot: "one" });
    await view.read(0, Buffer.alloc(512));
  },
  async export(image, dir) {
    await using view = await openView(image);
    await writeRaw(view, join(dir, "out.raw"));
  },
  async map(image) {
    await using view = await openView(image);
    await all(view.extents());
  },
  diff: (image) => all(diffSnapshots(image, "one")),
  send: (image) => all(sendSnapshot(image, openView, { to: "one" })),
  clone: (image, dir) => cloneImage(image, join(dir, "clone.qcow2"), { snapshot: "one" }),
  async serve(image, dir) {
    await (await serveImages([image], { listen: { socket: join(dir, "socket") } })).close();
  },
};

interface Kind {
  readonly name: string;
  readonly make: (path: string) => Promise<void>;
  /** What all but those of `but` end with; undefined for those that read. */
  readonly ends: ErrorCode | undefined;
  readonly says?: RegExp;
  readonly but?: Partial<Record<Reader, ErrorCode | undefined>>;
}

const KINDS: readonly Kind[] = [
  {
    name: "encrypted with LUKS",
    async make(path) {
      await createEncrypted(path, 1 << 20, "secret");
      await snapshotCreate({ path, secret: "secret" }, "one");
    },
    ends: "IMAGE_UNSUPPORTED",
    says: /encrypted/,
    // Neither looks at content: a clone is as encrypted as its origin.
    but: { diff: undefined, clone: undefined },
  },
  {
    name: "with an external data file",
    async make(path) {
      await createImage(path, { size: 1 << 20, options: { data_file: `${path}.raw` } });
      await io(path, "write -P 5 0 64k");
    },
    ends: "IMAGE_UNSUPPORTED",
    says: /(external data file|in another file)/,
    but: { view: undefined, export: undefined, map: undefined, serve: undefined },
  },
  {
    name: "with a data file that is gone",
    async make(path) {
      await createImage(path, { size: 1 << 20, options: { data_file: `${path}.raw` } });
      await must("rm", [`${path}.raw`]);
    },
    ends: "IMAGE_NOT_FOUND",
    says: /\.raw: no such image/,
    but: {
      "view of a snapshot": "IMAGE_UNSUPPORTED",
      diff: "IMAGE_UNSUPPORTED",
      send: "IMAGE_UNSUPPORTED",
      clone: "IMAGE_UNSUPPORTED",
    },
  },
  {
    name: "fenced by an operation",
    make: (path) => marked(path, 72, FENCED),
    ends: "NEEDS_RECOVERY",
    says: /qcowal recover/,
  },
  // As by qemu-img, which reads both: what is in doubt is refcounts, and they are not read.
  {
    name: "marked dirty",
    make: (path) => marked(path, 79, DIRTY),
    ends: undefined,
    but: { clone: "IMAGE_DAMAGED" },
  },
  {
    name: "marked corrupt",
    make: (path) => marked(path, 79, CORRUPT),
    ends: undefined,
    but: { clone: "IMAGE_DAMAGED" },
  },
  {
    name: "with a feature that nobody knows",
    make: (path) => marked(path, 72, 0x01),
    ends: "IMAGE_UNSUPPORTED",
    says: /feature/,
  },
  {
    name: "with a backing file of another format",
    async make(path) {
      await createImage(path, { size: 1 << 20 });
      await snapshotCreate(path, "one");
      await must("qemu-img", ["create", "-q", "-f", "vdi", `${path}.vdi`, "1M"]);
      await must("qemu-img", ["rebase", "-u", "-f", "qcow2", "-F", "vdi", "-b", `${path}.vdi`, path]);
    },
    ends: "IMAGE_UNSUPPORTED",
    says: /"vdi" cannot be read/,
    but: { diff: undefined, clone: undefined },
  },
  {
    name: "that is none",
    make: (path) => writeFile(path, Buffer.alloc(4096, 1)),
    ends: "IMAGE_NOT_QCOW2",
  },
  { name: "that is empty", make: (path) => writeFile(path, ""), ends: "IMAGE_NOT_QCOW2" },
  { name: "that is a directory", make: (path) => mkdir(path), ends: "IMAGE_UNSUPPORTED" },
  { name: "that is not there", make: () => Promise.resolve(), ends: "IMAGE_NOT_FOUND" },
];

describe.each(KINDS)("an image $name", ({ make, ends, says = /./, but = {} }) => {
  test("is read or refused by each reader, and stays as it is", async () => {
    const dir = await tempDir();
    const path = join(dir, "a.qcow2");
    await make(path);
    const names = (await readdir(dir)).toSorted();
    const before = await readFile(path).catch(() => undefined);
    for (const [name, read] of Object.entries(READERS)) {
      const reader = name as Reader;
      const expected = reader in but ? but[reader] : ends;
      const elsewhere = join(dir, "out");
      await mkdir(elsewhere);
      const code = await read(path, elsewhere).then(
        () => undefined,
        (error: unknown) => {
          const { code: found, message } = error as { code: string; message: string };
          if (found === ends) expect(message, reader).toMatch(says);
          expect(message, reader).not.toMatch(/undefined|\[object/);
          return found;
        },
      );
      expect(code, reader).toBe(expected);
      if (expected !== undefined) expect(await readdir(elsewhere), reader).toEqual([]);
      await must("rm", ["-r", elsewhere]);
    }
    expect((await readdir(dir)).toSorted()).toEqual(names);
    expect(await readFile(path).catch(() => undefined)).toEqual(before);
  });
});
