export function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

export function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}
