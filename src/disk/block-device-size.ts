import { readFile } from "node:fs/promises";

/** The kernel counts block devices in units of 512 bytes, whatever their own sectors are. */
const UNIT = 512;

/** Linux' packing of a device number into 64 bits: (major, minor). */
function deviceNumbers(device: number): readonly [major: number, minor: number] {
  const value = BigInt(device);
  const major = ((value >> 8n) & 0xfffn) | ((value >> 32n) & ~0xfffn);
  const minor = (value & 0xffn) | ((value >> 12n) & ~0xffn);
  return [Number(major), Number(minor)];
}

/** Length in bytes of the block device with this number (`rdev` of its node), as sysfs tells it. */
export async function blockDeviceSize(device: number): Promise<number> {
  const text = await readFile(`/sys/dev/block/${deviceNumbers(device).join(":")}/size`, "utf8");
  const units = Number(text);
  if (!Number.isSafeInteger(units * UNIT)) throw new Error(`the size of the device is not a number: ${text}`);
  return units * UNIT;
}
