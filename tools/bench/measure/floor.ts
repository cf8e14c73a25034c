import { open, rm } from "node:fs/promises";

const PIECE_BYTES = 2 ** 20;

/**
 * What no program can do without: reading so many bytes from one end of a file
 * to the other, writing so many, and one sync. In seconds.
 */
export async function physicalFloor(path: string, bytesRead: number, bytesWritten: number): Promise<number> {
  const file = await open(path, "w+");
  try {
    const piece = Buffer.alloc(PIECE_BYTES, 1);
    for (let at = 0; at < bytesRead; at += piece.length) await file.write(piece, 0, piece.length, at);
    await file.sync();
    const started = performance.now();
    for (let at = 0; at < bytesRead; at += piece.length) await file.read(piece, 0, piece.length, at);
    for (let at = 0; at < bytesWritten; at += piece.length) {
      await file.write(piece, 0, Math.min(piece.length, bytesWritten - at), at);
    }
    await file.datasync();
    return (performance.now() - started) / 1000;
  } finally {
    await file.close();
    await rm(path);
  }
}
