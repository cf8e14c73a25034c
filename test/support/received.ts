import type { ReceiveOperation } from "../../src/plan/index.ts";
import { ReceivedImage, encodeStream, operationsOf, withVerified } from "../../src/export/index.ts";
import type { VerifiedStream } from "../../src/export/index.ts";
import type { OpenReceived } from "../../src/plan/index.ts";
import { BytesGuest, all } from "../export/lab.ts";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A stream from one content to another, or from nothing. */
export async function streamOf(
  from: Uint8Array | undefined,
  to: Uint8Array,
  name = "after",
): Promise<Buffer> {
  const side = (content: Uint8Array, label: string) => ({
    snapshot: { id: label, name: label },
    size: content.length,
  });
  const names = {
    image: "/vms/web.qcow2",
    from: from === undefined ? null : side(from, "before"),
    to: side(to, name),
  };
  const content = { to: new BytesGuest(to), ...(from === undefined ? {} : { from: new BytesGuest(from) }) };
  return Buffer.concat(await all(encodeStream(names, content)));
}

/** The stream as `receive` has it when all of it is verified: kept in memory. */
export async function verifiedOf(bytes: Uint8Array): Promise<VerifiedStream> {
  const source = (async function* () {
    yield await Promise.resolve(bytes);
  })();
  // Its copy is gone when this returns; the bytes are here.
  const { name, header, end, digest } = await withVerified(join(tmpdir(), "none"), source, {}, (stream) =>
    Promise.resolve(stream),
  );
  return {
    name,
    header,
    end,
    digest,
    read: async function* () {
      yield await Promise.resolve(bytes);
    },
    readAt: (position, target) => {
      const part = bytes.subarray(position, position + target.length);
      target.set(part);
      return Promise.resolve(part.length);
    },
  };
}

export interface Receiving {
  readonly operations: [ReceiveOperation, ...ReturnType<typeof operationsOf>[1][]];
  readonly openReceived: OpenReceived;
}

/** What receives a stream into the image at `path`, without a pool. */
export async function receiving(
  path: string,
  bytes: Uint8Array,
  snapshot: string | undefined,
): Promise<Receiving> {
  const stream = await verifiedOf(bytes);
  return {
    operations: operationsOf(path, stream, snapshot),
    openReceived: (image, operation) => new ReceivedImage(stream, snapshot, {}).open(image, operation),
  };
}
