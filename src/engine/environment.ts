import { realpath, stat } from "node:fs/promises";
import { openFileDisk } from "../disk/index.ts";
import { QcowalError, reasonOf } from "../errors/index.ts";
import type { Environment, FileId } from "./options.ts";

async function resolvePath(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (cause) {
    throw new QcowalError("IMAGE_NOT_FOUND", `${path}: no such image.`, { cause, details: { path } });
  }
}

async function fileId(path: string): Promise<FileId> {
  try {
    const { dev, ino, birthtimeMs } = await stat(path);
    return { device: dev, inode: ino, ...(birthtimeMs > 0 ? { born: birthtimeMs } : {}) };
  } catch (cause) {
    throw new QcowalError("IO_FAILED", `${path}: ${reasonOf(cause)} Nothing was changed.`, {
      cause,
      details: { path },
    });
  }
}

/** Real files, the real clock. */
export function realEnvironment(program: string): Environment {
  return { openDisk: openFileDisk, resolvePath, fileId, now: Date.now, program };
}
