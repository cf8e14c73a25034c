import { roundUp, text, view } from "./bytes.ts";
import type { HeaderExtensionSpec, ImageSpec } from "./spec.ts";

export interface HeaderPointers {
  readonly l1Offset: number;
  readonly l1Size: number;
  readonly refcountTableOffset: number;
  readonly refcountTableClusters: number;
  readonly snapshotsOffset: number;
  readonly bitmapDirectory: { readonly offset: number; readonly size: number } | null;
}

/** The first cluster: header, unknown header bytes, extensions, backing file name. */
export function renderHeader(spec: ImageSpec, pointers: HeaderPointers): Uint8Array {
  const bytes = new Uint8Array(2 ** spec.clusterBits);
  const fields = view(bytes);
  const v3 = spec.version === 3;
  const length = v3 ? (spec.headerLength ?? 112) : 72;
  const zstd = spec.compression === "zstd";
  if (zstd && length < 112) throw new RangeError("zstd needs a header of 112 bytes");

  const extensions = extensionsOf(spec, pointers);
  let at = length;
  for (const { type, data } of extensions) {
    fields.setUint32(at, type);
    fields.setUint32(at + 4, data.length);
    bytes.set(data, at + 8);
    at += 8 + roundUp(data.length, 8);
  }
  at += 8; // the END marker is all zeros
  const backingName = text(spec.backing?.name ?? "");

  fields.setUint32(0, 0x514649fb);
  fields.setUint32(4, spec.version);
  fields.setBigUint64(8, BigInt(backingName.length === 0 ? 0 : at));
  fields.setUint32(16, backingName.length);
  fields.setUint32(20, spec.clusterBits);
  fields.setBigUint64(24, BigInt(spec.virtualSize));
  fields.setUint32(36, pointers.l1Size);
  fields.setBigUint64(40, BigInt(pointers.l1Offset));
  fields.setBigUint64(48, BigInt(pointers.refcountTableOffset));
  fields.setUint32(56, pointers.refcountTableClusters);
  fields.setUint32(60, spec.snapshots?.length ?? 0);
  fields.setBigUint64(64, BigInt(pointers.snapshotsOffset));
  if (v3) {
    fields.setBigUint64(72, (zstd ? 8n : 0n) | (spec.extendedL2 === true ? 16n : 0n));
    fields.setBigUint64(80, spec.compatibleFeatures ?? 0n);
    fields.setBigUint64(88, (spec.autoclearFeatures ?? 0n) | (spec.bitmap === undefined ? 0n : 1n));
    fields.setUint32(96, spec.refcountOrder ?? 4);
    fields.setUint32(100, length);
    if (zstd) fields.setUint8(104, 1);
    for (let i = 112; i < length; i++) bytes[i] = (i * 7) & 0xff;
  }
  bytes.set(backingName, at);
  return bytes;
}

function extensionsOf(spec: ImageSpec, pointers: HeaderPointers): readonly HeaderExtensionSpec[] {
  const result: HeaderExtensionSpec[] = [];
  if (spec.backing?.format !== undefined) result.push({ type: 0xe2792aca, data: text(spec.backing.format) });
  if (spec.featureNames === true) result.push({ type: 0x6803f857, data: featureNameTable() });
  if (pointers.bitmapDirectory !== null) {
    const data = new Uint8Array(24);
    view(data).setUint32(0, 1);
    view(data).setBigUint64(8, BigInt(pointers.bitmapDirectory.size));
    view(data).setBigUint64(16, BigInt(pointers.bitmapDirectory.offset));
    result.push({ type: 0x23852875, data });
  }
  return [...result, ...(spec.extensions ?? [])];
}

function featureNameTable(): Uint8Array {
  const names: readonly [number, number, string][] = [
    [0, 0, "dirty bit"],
    [0, 1, "corrupt bit"],
    [1, 0, "lazy refcounts"],
  ];
  const bytes = new Uint8Array(48 * names.length);
  names.forEach(([type, bit, name], i) => {
    bytes.set([type, bit], 48 * i);
    bytes.set(text(name), 48 * i + 2);
  });
  return bytes;
}
