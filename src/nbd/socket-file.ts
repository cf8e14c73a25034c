import { randomBytes } from "node:crypto";
import { chmod, link, lstat, mkdtemp, rm, rmdir, unlink } from "node:fs/promises";
import type { Server } from "node:net";
import { dirname, join } from "node:path";
import { QcowalError, reasonOf } from "../errors/index.ts";

/** The longest name that the system has room for in the address of a socket, without its NUL. */
const MAX_ADDRESS = 107;

function failed(path: string, message: string, cause?: unknown): QcowalError {
  return new QcowalError("IO_FAILED", `${path}: ${message} Nothing was changed.`, {
    cause,
    details: { path },
  });
}

async function isListenedTo(path: string): Promise<boolean> {
  const { connect } = await import("node:net");
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    // Anything but a clear refusal may be a server that is busy.
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code !== "ECONNREFUSED"));
  });
}

/** Takes a socket away that nobody listens on. @throws QcowalError for anything else */
async function removeStale(path: string): Promise<void> {
  const found = await lstat(path);
  if (!found.isSocket()) throw failed(path, "there is a file already that is no socket.");
  if (await isListenedTo(path)) throw failed(path, "another server listens there.");
  if ((await lstat(path)).ino === found.ino) await unlink(path);
}

async function giveName(temporary: string, path: string): Promise<void> {
  try {
    await link(temporary, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    await removeStale(path);
    await link(temporary, path);
  }
}

/**
 * Listens on a socket file that only its owner can connect to. It gets its name
 * only then, and never in place of one that is in use. Returns how to remove it.
 * @throws QcowalError IO_FAILED
 */
export async function listenOnFile(
  path: string,
  listen: (path: string) => Promise<Server>,
): Promise<() => Promise<void>> {
  const room = join(dirname(path), `.nbd-${randomBytes(3).toString("hex")}`, "s");
  if (Math.max(Buffer.byteLength(room), Buffer.byteLength(path)) > MAX_ADDRESS)
    throw failed(path, "the path is too long for a socket; use a shorter one.");
  let folder: string | undefined;
  let server: Server | undefined;
  try {
    // Nobody else gets into the folder, whatever mode a new socket has.
    folder = await mkdtemp(join(dirname(path), ".nbd-"));
    const temporary = join(folder, "s");
    server = await listen(temporary);
    await chmod(temporary, 0o600);
    await giveName(temporary, path);
    const { ino } = await lstat(path);
    await unlink(temporary);
    await rmdir(folder);
    return async () => {
      const found = await lstat(path).catch(() => undefined);
      if (found?.ino === ino) await rm(path, { force: true });
    };
  } catch (error) {
    server?.close();
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
    if (error instanceof QcowalError) throw error;
    throw failed(path, `no socket can be made there: ${reasonOf(error)}`, error);
  }
}
