import { type Socket, connect } from "node:net";
import type { NbdServer } from "../../../src/nbd/index.ts";

export const u16 = (value: number): Buffer => Buffer.from([value >> 8, value & 255]);
export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
export function u64(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}
export const text = (value: string): Buffer =>
  Buffer.concat([u32(Buffer.byteLength(value)), Buffer.from(value)]);

export const option = (type: number, data: Buffer = Buffer.alloc(0)): Buffer =>
  Buffer.concat([Buffer.from("IHAVEOPT"), u32(type), u32(data.length), data]);

export const go = (name: string): Buffer => option(7, Buffer.concat([text(name), u16(0)]));

export const setContexts = (name: string, ...queries: readonly string[]): Buffer =>
  option(10, Buffer.concat([text(name), u32(queries.length), ...queries.map(text)]));

export interface RequestFields {
  readonly type: number;
  readonly flags?: number;
  readonly cookie?: number;
  readonly offset?: number | bigint;
  readonly length?: number;
}

export const request = ({ type, flags = 0, cookie = 7, offset = 0, length = 0 }: RequestFields): Buffer =>
  Buffer.concat([u32(0x25609513), u16(flags), u16(type), u64(cookie), u64(offset), u32(length)]);

export interface Reply {
  readonly type: number;
  readonly data: Buffer;
}

export interface ChunkReply extends Reply {
  readonly done: boolean;
  readonly cookie: number;
}

/** A client that sends what it is told to, right or wrong. */
export class RawClient {
  readonly socket: Socket;
  #parts: Buffer[] = [];
  #length = 0;
  #wake: () => void = () => undefined;
  closed = false;

  constructor(server: NbdServer) {
    const { address } = server;
    this.socket = "socket" in address ? connect(address.socket) : connect(address);
    this.socket.on("data", (bytes: Buffer) => {
      this.#parts.push(bytes);
      this.#length += bytes.length;
      this.#wake();
    });
    this.socket.on("error", () => undefined);
    for (const event of ["end", "close"])
      this.socket.on(event, () => {
        this.closed = true;
        this.#wake();
      });
  }

  send(...parts: readonly Buffer[]): this {
    if (!this.socket.destroyed) this.socket.write(Buffer.concat(parts));
    return this;
  }

  async #news(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
  }

  /** Undefined when the server ends the connection before that. One call at a time. */
  async take(length: number): Promise<Buffer | undefined> {
    while (this.#length < length) {
      if (this.closed) return undefined;
      await this.#news();
    }
    const bytes = Buffer.concat(this.#parts);
    this.#parts = [bytes.subarray(length)];
    this.#length -= length;
    return bytes.subarray(0, length);
  }

  async must(length: number): Promise<Buffer> {
    const bytes = await this.take(length);
    if (bytes === undefined) throw new Error("the server ended the connection");
    return bytes;
  }

  async greet(flags = 3): Promise<this> {
    await this.must(18);
    return this.send(u32(flags));
  }

  /** The replies to one option, to its acknowledgement or error. */
  async replies(): Promise<Reply[]> {
    const found: Reply[] = [];
    for (;;) {
      const header = await this.must(20);
      const type = header.readUInt32BE(12);
      found.push({ type, data: await this.must(header.readUInt32BE(16)) });
      if (type === 1 || type >= 0x80000000) return found;
    }
  }

  async chunk(): Promise<ChunkReply> {
    const header = await this.must(20);
    if (header.readUInt32BE() !== 0x668e33ef) throw new Error("no structured reply");
    return {
      done: header.readUInt16BE(4) === 1,
      type: header.readUInt16BE(6),
      cookie: Number(header.readBigUInt64BE(8)),
      data: await this.must(header.readUInt32BE(16)),
    };
  }

  /** All chunks of one reply. */
  async chunks(): Promise<ChunkReply[]> {
    const found = [await this.chunk()];
    while (found.at(-1)?.done === false) found.push(await this.chunk());
    return found;
  }

  async simple(): Promise<{ errno: number; cookie: number }> {
    const header = await this.must(16);
    if (header.readUInt32BE() !== 0x67446698) throw new Error("no simple reply");
    return { errno: header.readUInt32BE(4), cookie: Number(header.readBigUInt64BE(8)) };
  }

  /** Through the negotiation, with structured replies and these contexts. */
  async choose(name: string, ...contexts: readonly string[]): Promise<this> {
    await this.greet();
    this.send(option(8), setContexts(name, ...contexts), go(name));
    for (let count = 0; count < 3; count += 1) {
      const last = (await this.replies()).at(-1);
      if (last?.type !== 1) throw new Error(`refused: ${last?.data.toString()}`);
    }
    return this;
  }

  /** Resolves when the server ends the connection. */
  async end(): Promise<void> {
    while (!this.closed) await this.#news();
    this.socket.destroy();
  }
}
