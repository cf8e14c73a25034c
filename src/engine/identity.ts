import { createHash } from "node:crypto";
import { V2_HEADER_LENGTH, fenceMark } from "../format/index.ts";
import type { ImageHead } from "../image/index.ts";
import type { FileId } from "./options.ts";

/** Which file an operation worked on, so that a moved image is found again and a replaced one told apart. */
export interface ImageIdentity extends FileId {
  /** Absolute path with links resolved. */
  readonly path: string;
  /** SHA-256 over the header's first 72 bytes without the fence's mark, in hex. */
  readonly fingerprint: string;
}

export function identityOf(path: string, file: FileId, head: ImageHead): ImageIdentity {
  const bytes = head.cluster.slice(0, V2_HEADER_LENGTH);
  const mark = fenceMark(head.header.geometry.version);
  if (mark.offset < bytes.length) bytes[mark.offset] = (bytes[mark.offset] ?? 0) & ~mark.mask;
  return { path, ...file, fingerprint: createHash("sha256").update(bytes).digest("hex") };
}
