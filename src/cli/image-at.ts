import { existsSync } from "node:fs";
import { parseSelector } from "./selector.ts";

export interface ImageAt {
  readonly image: string;
  /** Undefined for the active layer. */
  readonly snapshot?: string | { readonly id: string };
}

/**
 * `IMAGE` or `IMAGE@SNAPSHOT`, the snapshot as `parseSelector` takes it. A file
 * of the whole name is the image; else the last `@` divides the two where a file
 * has the name before it. Neither: the whole is an image, which is not there.
 */
export function parseImageAt(text: string, exists: (path: string) => boolean = existsSync): ImageAt {
  const at = text.lastIndexOf("@");
  const image = text.slice(0, at);
  if (at <= 0 || exists(text) || !exists(image)) return { image: text };
  const selector = parseSelector(text.slice(at + 1));
  return { image, snapshot: "id" in selector ? selector : selector.name };
}
