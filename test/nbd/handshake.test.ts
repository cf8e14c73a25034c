import { describe, expect, test } from "vitest";
import { checkeredDisk } from "./support/guest-disk.ts";
import { go, option, setContexts, text, u16, u32, u64 } from "./support/raw-client.ts";
import { useServers } from "./support/serving.ts";

const disk = checkeredDisk(1024 * 1024, 4096, 3);
const exports = [
  { name: "a", disk },
  { name: "b", disk, changedSince: [{ name: "x", ranges: () => disk.extents(0, 0) as never }] },
];
const { start } = useServers();

const ACK = 1;
const INFO = 3;
const ERR_UNSUP = 0x80000001;
const ERR_POLICY = 0x80000002;
const ERR_INVALID = 0x80000003;
const ERR_UNKNOWN = 0x80000006;
const ERR_TOO_BIG = 0x80000009;

async function ready() {
  const serving = await start({ exports });
  return { ...serving, client: await serving.client().greet() };
}

describe("an option that is", () => {
  test.each([
    ["unknown", option(77, Buffer.from("hm")), ERR_UNSUP],
    ["for longer headers", option(11), ERR_UNSUP],
    ["STARTTLS without a certificate", option(5), ERR_POLICY],
    ["LIST with data", option(3, u32(0)), ERR_INVALID],
    ["STRUCTURED_REPLY with data", option(8, u32(0)), ERR_INVALID],
    ["GO without a name", option(7), ERR_INVALID],
    ["GO whose name ends behind the option", option(7, Buffer.concat([u32(9), u16(0)])), ERR_INVALID],
    ["GO with fewer infos than it says", option(7, Buffer.concat([text("a"), u16(2), u16(1)])), ERR_INVALID],
    ["GO with data behind its infos", option(7, Buffer.concat([text("a"), u16(0), u16(1)])), ERR_INVALID],
    ["GO for a name with a NUL", go("a\0"), ERR_INVALID],
    ["GO for a name that is not UTF-8", option(7, Buffer.from([0, 0, 0, 1, 0xff, 0, 0])), ERR_INVALID],
    ["GO for a name of 4097 bytes", go("a".repeat(4097)), ERR_INVALID],
    ["GO for a name that nothing has", go("c"), ERR_UNKNOWN],
    ["GO for no name where there are two", go(""), ERR_UNKNOWN],
    ["SET_META_CONTEXT before structured replies", setContexts("a", "base:allocation"), ERR_INVALID],
    ["LIST_META_CONTEXT of no export", option(9, Buffer.concat([text("c"), u32(0)])), ERR_UNKNOWN],
    [
      "LIST_META_CONTEXT with a billion queries",
      option(9, Buffer.concat([text("a"), u32(2 ** 30)])),
      ERR_INVALID,
    ],
    ["longer than the limit", option(3, Buffer.alloc(70_000)), ERR_TOO_BIG],
  ])("%s is refused, and the next is answered", async (_, bytes, error) => {
    const { client } = await ready();
    client.send(bytes);
    expect(await client.replies()).toMatchObject([{ type: error }]);
    client.send(go("a"));
    expect((await client.replies()).at(-1)).toMatchObject({ type: ACK });
  });

  test.each([
    ["far too long", Buffer.concat([Buffer.from("IHAVEOPT"), u32(3), u32(0xffffffff)]), "far too long"],
    ["without its magic", Buffer.alloc(16), "no option"],
    ["EXPORT_NAME of nothing", option(1, Buffer.from("c")), "an export that there is not"],
    ["EXPORT_NAME that is no name", option(1, Buffer.from([0xff])), "is no name"],
  ])("%s ends the connection", async (_, bytes, message) => {
    const { client, told } = await ready();
    client.send(bytes);
    await client.end();
    expect(told.map((entry) => entry.message).join()).toContain(message);
  });
});

test("a client with unknown flags is dropped", async () => {
  const { client, told } = await start({ exports });
  const strange = client();
  await strange.greet(7);
  await strange.end();
  expect(told).toMatchObject([{ message: "it sets handshake flags nobody offered" }]);
});

test("ABORT is acknowledged and ends the connection without a word to the owner", async () => {
  const { client, told } = await ready();
  client.send(option(2));
  expect(await client.replies()).toMatchObject([{ type: ACK }]);
  await client.end();
  expect(told).toEqual([]);
});

test.each([
  [1, 124],
  [3, 0],
  [0, 124],
])("EXPORT_NAME with the flags %i is answered with %i zeroes", async (flags, zeroes) => {
  const serving = await start({ exports });
  const client = await serving.client().greet(flags);
  client.send(option(1, Buffer.from("b")));
  const answer = await client.must(10 + zeroes);
  expect(answer.subarray(0, 8)).toEqual(u64(disk.size));
  expect(answer.readUInt16BE(8)).toBe(0b101_0000_0011);
  expect(answer.subarray(10).every((byte) => byte === 0)).toBe(true);
});

test("INFO tells what GO would, and SEND_DF only with structured replies", async () => {
  const { client } = await ready();
  const info = option(6, Buffer.concat([text("a"), u16(2), u16(1), u16(2)]));
  client.send(info, option(8), info);
  const [before, , after] = [await client.replies(), await client.replies(), await client.replies()];
  const flags = (replies: typeof before) =>
    replies.find(({ data }) => data.length === 12 && data.readUInt16BE() === 0)?.data.readUInt16BE(10);
  expect(before.map(({ type }) => type)).toEqual([INFO, INFO, INFO, ACK]);
  expect(flags(before)).toBe(0b101_0000_0011);
  expect(flags(after)).toBe(0b101_1000_0011);
});

test("who names no export gets the only one, under its own name", async () => {
  const serving = await start({ exports: exports.slice(0, 1) });
  const client = await serving.client().greet();
  client.send(option(6, Buffer.concat([text(""), u16(1), u16(1)])));
  const replies = await client.replies();
  expect(replies.map(({ data }) => data.toString("latin1"))).toContain("\0\u0001a");
});

describe("contexts", () => {
  const names = (replies: readonly { data: Buffer }[]) =>
    replies.slice(0, -1).map(({ data }) => `${data.readUInt32BE()} ${data.subarray(4).toString()}`);
  const list = (...queries: readonly string[]) =>
    option(9, Buffer.concat([text("b"), u32(queries.length), ...queries.map(text)]));

  test.each([
    [[], ["0 base:allocation", "0 qcowal:changed:x"]],
    [["base:"], ["0 base:allocation"]],
    [["qcowal:"], ["0 qcowal:changed:x"]],
    [["qcowal:changed:"], ["0 qcowal:changed:x"]],
    [
      ["qcowal:changed:x", "base:allocation", "base:"],
      ["0 base:allocation", "0 qcowal:changed:x"],
    ],
    [["qemu:", "base", "", "qcowal:changed:y"], []],
  ])("a listing of %j has %j", async (queries, wanted) => {
    const { client } = await ready();
    client.send(list(...queries));
    expect(names(await client.replies())).toEqual(wanted);
  });

  test("are selected by their whole names alone", async () => {
    const { client } = await ready();
    client.send(option(8), setContexts("b", "base:"), setContexts("b"), setContexts("b", "qcowal:changed:x"));
    await client.replies();
    expect(names(await client.replies())).toEqual([]);
    expect(names(await client.replies())).toEqual([]);
    expect(names(await client.replies())).toEqual(["0 qcowal:changed:x"]);
  });
});
