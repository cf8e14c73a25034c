/** As many snapshots as QEMU reads, none of which says anything. */
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { makeImage } from "../../tools/image-maker/index.ts";
import { requireQemu, tempDir } from "../support/qemu.ts";
import { isSame, verdictOn } from "./verdict.ts";

beforeAll(requireQemu);

const COUNT = 65_536;
const TABLE = 2 ** 20;

test("a table of 65536 empty entries in version 2, without refcounts, has as many errors as for qemu-img", async () => {
  const image = makeImage({ version: 2, clusterBits: 16, virtualSize: 64 * 2 ** 20, headerLength: 72 });
  const bytes = Buffer.alloc(TABLE + 40 * COUNT);
  bytes.set(image);
  bytes.writeUInt32BE(COUNT, 60);
  bytes.writeBigUInt64BE(BigInt(TABLE), 64);
  const verdict = await verdictOn(join(await tempDir(), "a.qcow2"), bytes);
  expect(verdict.code).toBe(2);
  expect(verdict.report?.corruptions).toBe((40 * COUNT) / 65_536);
  expect(isSame(verdict), verdict.qemu.stderr.slice(0, 2000)).toBe(true);
});
