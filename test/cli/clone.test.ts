import { beforeAll, expect, test } from "vitest";
import { requireBuiltCommand } from "../support/command.ts";
import { readRoot } from "../support/naive-qcow2.ts";
import { Lab } from "./lab.ts";

beforeAll(requireBuiltCommand);

test("qcowal clone makes an image of a snapshot, and replaces none", async () => {
  const lab = await Lab.open();
  const made = await lab.qcowal("clone", "a.qcow2@two", "b.qcow2");
  expect(made).toMatchObject({ code: 0, stdout: "" });
  expect(made.stderr).toMatch(/^b\.qcow2: a\.qcow2 at "two"/);
  expect(await lab.names("b.qcow2")).toEqual(["two"]);
  expect(await lab.verdict("b.qcow2")).toBe("clean");
  const [clone, image] = [await lab.bytes("b.qcow2"), await lab.bytes()];
  expect(Buffer.compare(readRoot(clone, "active"), readRoot(image, 1))).toBe(0);
  expect(await lab.qcowal("clone", "a.qcow2", "b.qcow2")).toMatchObject({ code: 1 });
  expect(await lab.json("clone", "a.qcow2@id:1", "c.qcow2")).toMatchObject({
    image: lab.path("a.qcow2"),
    clone: lab.path("c.qcow2"),
    snapshot: { id: "1", name: "one" },
  });
});
