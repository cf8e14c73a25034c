import { roundUp, text, view } from "./bytes.ts";
import { noise } from "./content.ts";
import type { BitmapSpec, ImageSpec } from "./spec.ts";

export function bitmapTableEntries(spec: ImageSpec, bitmap: BitmapSpec): number {
  const bits = Math.ceil(spec.virtualSize / 2 ** bitmap.granularityBits);
  return Math.ceil(Math.ceil(bits / 8) / 2 ** spec.clusterBits);
}

export function bitmapDirectorySize(bitmap: BitmapSpec): number {
  return roundUp(24 + text(bitmap.name).length, 8);
}

export function renderBitmapDirectory(spec: ImageSpec, bitmap: BitmapSpec, tableOffset: number): Uint8Array {
  const bytes = new Uint8Array(bitmapDirectorySize(bitmap));
  const name = text(bitmap.name);
  const fields = view(bytes);
  fields.setBigUint64(0, BigInt(tableOffset));
  fields.setUint32(8, bitmapTableEntries(spec, bitmap));
  fields.setUint32(12, bitmap.flags ?? 2);
  fields.setUint8(16, 1);
  fields.setUint8(17, bitmap.granularityBits);
  fields.setUint16(18, name.length);
  bytes.set(name, 24);
  return bytes;
}

/** Bits beyond the end of the disk stay zero. */
export function renderBitmapData(spec: ImageSpec, bitmap: BitmapSpec, index: number): Uint8Array {
  const clusterSize = 2 ** spec.clusterBits;
  const bits = Math.ceil(spec.virtualSize / 2 ** bitmap.granularityBits) - index * clusterSize * 8;
  const whole = Math.min(clusterSize, Math.floor(bits / 8));
  const bytes = new Uint8Array(clusterSize);
  bytes.set(noise((bitmap.seed ?? 5) + index, clusterSize).subarray(0, whole));
  return bytes;
}
