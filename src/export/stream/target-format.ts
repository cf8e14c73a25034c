import { open } from "node:fs/promises";
import { QCOW2_MAGIC } from "../../format/index.ts";

/** What a target of `receive` is, or is to be. */
export type TargetFormat = "raw" | "qcow2";

/** By its first bytes for a file that is there, else by its name. A disk of raw bytes may begin with those of an image: who knows better says so. */
export async function targetFormat(path: string): Promise<TargetFormat> {
  const first = Buffer.alloc(4);
  try {
    const handle = await open(path, "r");
    try {
      const { bytesRead } = await handle.read(first, 0, first.length, 0);
      return bytesRead === first.length && first.readUInt32BE() === QCOW2_MAGIC ? "qcow2" : "raw";
    } finally {
      await handle.close();
    }
  } catch {
    // Not there, or nothing to read: whoever opens it next says why.
    return path.endsWith(".qcow2") ? "qcow2" : "raw";
  }
}
