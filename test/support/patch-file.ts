import { open } from "node:fs/promises";

/** Writes bytes into a file, which keeps its length and its holes. */
export async function patchFile(path: string, offset: number, bytes: Uint8Array): Promise<void> {
  const file = await open(path, "r+");
  try {
    await file.write(bytes, 0, bytes.length, offset);
  } finally {
    await file.close();
  }
}
