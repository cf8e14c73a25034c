import { access } from "node:fs/promises";
import type { SnapshotRef } from "../index.ts";
import { refOf } from "./selector.ts";

/** What IMAGE[@SNAPSHOT] says. A file of that very name is the image, whatever is in the name. */
export async function imageAndSnapshot(
  words: string,
): Promise<{ readonly image: string; readonly snapshot?: SnapshotRef }> {
  const at = words.lastIndexOf("@");
  const isFile = await access(words).then(
    () => true,
    () => false,
  );
  if (isFile || at <= 0) return { image: words };
  return { image: words.slice(0, at), snapshot: refOf(words.slice(at + 1)) };
}
