import { dirname, resolve } from "node:path";
import { QcowalError } from "../errors/index.ts";

/** The file that a name in the header of the image at `imagePath` means. @throws QcowalError IMAGE_UNSUPPORTED */
export function namedFile(imagePath: string, name: string, what: string): string {
  const plain = name.startsWith("file:") ? name.slice("file:".length) : name;
  const isPlain = plain !== "" && !plain.includes("\0") && !/^[^/]*:/.test(plain);
  if (isPlain) return resolve(dirname(imagePath), plain);
  throw new QcowalError(
    "IMAGE_UNSUPPORTED",
    `${imagePath}: its ${what} ${JSON.stringify(name)} is not the name of a local file. Nothing was changed; qemu-img may be able to read it.`,
  );
}
