import { readFile } from "node:fs/promises";

/** Host offset of the stream of a compressed cluster under the first L2 table of an image with clusters of 64 KiB. */
export async function streamPlace(path: string, cluster = 0): Promise<number> {
  const bytes = await readFile(path);
  const at = (offset: number): bigint => bytes.readBigUInt64BE(offset);
  const l2 = at(Number(at(40))) & 0x00ff_ffff_ffff_fe00n;
  return Number(at(Number(l2) + 8 * cluster) & 0x003f_ffff_ffff_ffffn);
}
