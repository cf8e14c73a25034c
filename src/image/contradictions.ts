import { AUTOCLEAR_RAW_EXTERNAL, CRYPT_LUKS, EXTENSION } from "../format/index.ts";
import type { ImageHead } from "./image.ts";

/** Where the header says two things at once, so that no qemu opens the image. No table can answer for that. */
export function contradictions({ header, area }: Pick<ImageHead, "header" | "area">): string[] {
  const found: string[] = [];
  if (!header.externalDataFile && (header.autoclearFeatures & AUTOCLEAR_RAW_EXTERNAL) !== 0n) {
    found.push("an external data file is said to be raw, but there is none");
  }
  const hasCryptoHeader = area.extensions.some(({ type }) => type === EXTENSION.crypto);
  if ((header.cryptMethod === CRYPT_LUKS) !== hasCryptoHeader) {
    found.push("encryption method and encryption header do not fit");
  }
  return found;
}
