import { existsSync, statSync, writeFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type NbdServeOptions, serve } from "../../src/nbd/index.ts";
import { must, run } from "../support/programs.ts";
import { CERT, KEY, OTHER_CERT } from "./support/certificate.ts";
import { checkeredDisk } from "./support/guest-disk.ts";
import { go, option, request } from "./support/raw-client.ts";
import { useServers } from "./support/serving.ts";

const disk = checkeredDisk(1024 * 1024, 4096, 5);
const exports = [{ name: "a", disk }];
const { dir, start } = useServers();
const READ = 0;

describe("the socket file", () => {
  const socket = join(dir, "socket");

  test("is its owner's alone, has nothing beside it, and goes with the server", async () => {
    const { server } = await start({ exports, listen: { socket } });
    expect(statSync(socket).mode & 0o777).toBe(0o600);
    expect(await readdir(dir)).toEqual(["socket"]);
    await server.close();
    expect(existsSync(socket)).toBe(false);
  });

  test("of a server that listens is left alone", async () => {
    const { client } = await start({ exports, listen: { socket } });
    await expect(serve({ exports, listen: { socket } })).rejects.toMatchObject({
      code: "IO_FAILED",
      message: expect.stringContaining("another server listens there") as string,
    });
    await client().choose("a");
    expect(await readdir(dir)).toEqual(["socket"]);
  });

  test("of a server that was killed is replaced", async () => {
    const script = `require("net").createServer().listen(${JSON.stringify(socket)}, () => process.kill(process.pid, 9))`;
    await run(process.execPath, ["-e", script]);
    expect(existsSync(socket)).toBe(true);
    const { client } = await start({ exports, listen: { socket } });
    await client().choose("a");
  });

  test("never takes the place of a file", async () => {
    const file = join(dir, "file");
    writeFileSync(file, "precious");
    await expect(serve({ exports, listen: { socket: file } })).rejects.toMatchObject({ code: "IO_FAILED" });
    expect(statSync(file).size).toBe(8);
  });

  test("that somebody put in its place stays", async () => {
    const { server } = await start({ exports, listen: { socket } });
    await must("rm", [socket]);
    writeFileSync(socket, "another's");
    await server.close();
    expect(statSync(socket).size).toBe(9);
    await must("rm", [socket]);
  });

  test.each(["nowhere/socket", "s".repeat(120)])("cannot be %s", async (name) => {
    await expect(serve({ exports, listen: { socket: join(dir, name) } })).rejects.toMatchObject({
      code: "IO_FAILED",
    });
  });
});

test("it listens on this machine alone, and says where", async () => {
  const { server } = await start({ exports, listen: { port: 0 } });
  expect(server.address).toMatchObject({ host: "127.0.0.1" });
  expect(server.uri("a b")).toMatch(/^nbd:\/\/127\.0\.0\.1:\d+\/a%20b$/);
  await expect(serve({ exports, listen: server.address })).rejects.toMatchObject({ code: "IO_FAILED" });
});

test.each<[string, Partial<NbdServeOptions>]>([
  ["no export", { exports: [] }],
  ["two exports of one name", { exports: [...exports, ...exports] }],
  ["a name with a NUL", { exports: [{ name: "a\0", disk }] }],
  ["a name of 4097 bytes", { exports: [{ name: "ä".repeat(2049), disk }] }],
  ["an unknown limit", { limits: { speed: 1 } as never }],
  ["a limit of nothing", { limits: { requests: 0 } }],
])("%s is misuse", async (_, options) => {
  await expect(serve({ exports, listen: { port: 0 }, ...options })).rejects.toThrow(TypeError);
});

describe("closing", () => {
  test("answers what is in flight, and hangs up on whoever negotiates or idles", async () => {
    const slow = checkeredDisk(1024 * 1024, 4096, 5);
    slow.beforeRead = () => new Promise((resolve) => setTimeout(resolve, 100));
    const { server, client } = await start({ exports: [{ name: "a", disk: slow }] });
    const [reading, idle, negotiating] = [client(), client(), client()];
    await reading.choose("a");
    await idle.choose("a");
    await negotiating.greet();
    reading.send(request({ type: READ, flags: 4, length: 100 }));
    await expect.poll(() => slow.reads).toBe(1);
    const closed = server.close();
    expect(await reading.chunks()).toMatchObject([{ type: 1, done: true }]);
    await Promise.all([closed, reading.end(), idle.end(), negotiating.end()]);
    expect(server.connections).toBe(0);
    await server.close();
  });

  test("waits only so long for a disk that never answers", async () => {
    const stuck = checkeredDisk(1024 * 1024, 4096, 5);
    let release = (): void => undefined;
    stuck.beforeRead = () =>
      new Promise((resolve) => {
        release = resolve;
      });
    const { server, client } = await start({
      exports: [{ name: "a", disk: stuck }],
      limits: { closeTime: 50 },
    });
    const reading = await client().choose("a");
    reading.send(request({ type: READ, length: 100 }));
    await expect.poll(() => stuck.reads).toBe(1);
    await server.close();
    await reading.end();
    release();
  });
});

describe("with TLS", () => {
  const tls = { key: KEY, cert: CERT };

  test("a client that verifies the certificate reads, and one that does not trust it does not", async () => {
    const { server } = await start({ exports, tls });
    const certificates = join(dir, "certificates");
    await must("mkdir", [certificates]);
    writeFileSync(join(certificates, "ca-cert.pem"), CERT);
    const uri = server.uri("a").replace("127.0.0.1", "localhost");
    const copy = join(dir, "copy");
    await must("nbdcopy", [`${uri}?tls-certificates=${certificates}`, copy]);
    const raw = join(dir, "raw");
    writeFileSync(raw, disk.content);
    await must("cmp", [copy, raw]);
    const object = `tls-creds-x509,id=t,dir=${certificates},endpoint=client`;
    const address = server.address as { port: number };
    const image = `driver=nbd,host=localhost,port=${address.port},export=a,tls-creds=t`;
    await must("qemu-img", [
      "compare",
      "--object",
      object,
      "--image-opts",
      image,
      `driver=raw,file.filename=${raw}`,
    ]);
    writeFileSync(join(certificates, "ca-cert.pem"), OTHER_CERT);
    const distrusting = await run("qemu-img", ["info", "--object", object, "--image-opts", image]);
    expect(distrusting.stderr).toContain("certificate");
  });

  test("nothing is answered before, and EXPORT_NAME not at all", async () => {
    const { client } = await start({ exports, tls });
    const clear = await client().greet();
    for (const bytes of [option(3), option(8), go("a"), option(99)]) {
      clear.send(bytes);
      expect(await clear.replies()).toMatchObject([{ type: 0x80000005 }]);
    }
    clear.send(option(1, Buffer.from("a")));
    await clear.end();
    const leaving = await client().greet();
    leaving.send(option(2));
    expect(await leaving.replies()).toMatchObject([{ type: 1 }]);
  });

  test("what was sent in the clear behind STARTTLS is not taken for encrypted", async () => {
    const { client, told } = await start({ exports, tls });
    const injecting = await client().greet();
    injecting.send(option(5), go("a"));
    expect(await injecting.replies()).toMatchObject([{ type: 1 }]);
    await injecting.end();
    await expect.poll(() => told.length).toBe(1);
  });

  test("a client without a certificate is refused where one is wanted", async () => {
    const { server } = await start({ exports, tls: { ...tls, clientCa: CERT } });
    const folders = ["with", "without"].map((name) => join(dir, name));
    for (const folder of folders) {
      await must("mkdir", [folder]);
      writeFileSync(join(folder, "ca-cert.pem"), CERT);
    }
    writeFileSync(join(folders[0] ?? "", "client-cert.pem"), CERT);
    writeFileSync(join(folders[0] ?? "", "client-key.pem"), KEY);
    const uri = server.uri("a").replace("127.0.0.1", "localhost");
    const [known, unknown] = await Promise.all(
      folders.map((folder) => run("nbdinfo", ["--size", `${uri}?tls-certificates=${folder}`])),
    );
    expect(known).toMatchObject({ code: 0, stdout: `${disk.size}\n` });
    expect(unknown?.code).not.toBe(0);
  });

  test("keys that are none are refused before anything listens", async () => {
    const socket = join(dir, "socket");
    await expect(serve({ exports, listen: { socket }, tls: { ...tls, key: "?" } })).rejects.toThrow();
    expect(existsSync(socket)).toBe(false);
  });
});
