import { isQcowalError, reasonOf } from "../errors/index.ts";
import { blockStatus } from "./block-status.ts";
import { Budget } from "./budget.ts";
import { Disconnected, NbdClientError } from "./client-error.ts";
import { Command, CommandFlag, Errno, MAX_REQUEST } from "./constants.ts";
import type { Agreement } from "./handshake.ts";
import type { NbdLimits } from "./limits.ts";
import { PIECE, readParts } from "./read-parts.ts";
import { dataChunkHeader, errorReply, holeChunk, simpleReply, statusChunk, successReply } from "./replies.ts";
import { REQUEST_BYTES, type Request, parseRequest, refusalOf } from "./requests.ts";

const OVER = { errno: Errno.ESHUTDOWN, message: "the disk is another one since; connect again" };

/** Answers a client's requests, several at a time. */
export class Transmission {
  readonly #agreed: Agreement;
  readonly #limits: NbdLimits;
  readonly #report: (error: unknown) => void;
  readonly #slots: Budget;
  readonly #buffer: Budget;
  readonly #piece: number;
  #isOver = false;

  constructor(agreed: Agreement, limits: NbdLimits, report: (error: unknown) => void) {
    this.#agreed = agreed;
    this.#limits = limits;
    this.#report = report;
    this.#slots = new Budget(limits.requests);
    this.#buffer = new Budget(limits.bufferedBytes);
    this.#piece = Math.min(PIECE, limits.bufferedBytes);
  }

  /**
   * Until the client takes leave; then what is in flight has been answered.
   * @throws NbdClientError for what is no request
   */
  async run(): Promise<void> {
    const { reader } = this.#agreed.channel;
    try {
      for (;;) {
        const request = parseRequest(await reader.read(REQUEST_BYTES));
        if (request.type === Command.disconnect) break;
        if (request.type === Command.write) {
          if (request.length > MAX_REQUEST) throw new NbdClientError("it writes, and far too much");
          await reader.skip(request.length);
        }
        await this.#slots.take(1);
        void this.#answer(request).finally(() => this.#slots.giveBack(1));
      }
    } catch (error) {
      if (!(error instanceof Disconnected)) throw error;
    }
    await this.#slots.take(this.#slots.total);
  }

  /** Never rejects: a client that is gone needs no answer. */
  async #answer(request: Request): Promise<void> {
    const { export: of, contexts, structured, channel } = this.#agreed;
    try {
      const agreed = { size: of.disk.size, structured, contexts: contexts.length > 0 };
      const refused = refusalOf(request, agreed);
      if (refused !== undefined) await channel.sender.send(errorReply(request, refused, structured));
      else await this.#carryOut(request);
    } catch (error) {
      if (error instanceof Disconnected) return;
      const isOver = isQcowalError(error, "IMAGE_CHANGED");
      if (!this.#isOver) this.#report(error);
      this.#isOver ||= isOver;
      // The reason may name files of the host, which are no business of a client.
      const failure = isOver ? OVER : { errno: Errno.EIO, message: "the disk cannot be read there" };
      await channel.sender.send(errorReply(request, failure, structured)).catch(() => undefined);
      // Whatever it would ask next has no answer any more; to begin anew it has to connect again.
      if (isOver) channel.reader.stop();
    }
  }

  async #carryOut(request: Request): Promise<void> {
    const { structured, channel } = this.#agreed;
    if (request.type === Command.blockStatus) await this.#status(request);
    else if (request.type === Command.cache || request.length === 0)
      await channel.sender.send(successReply(request, structured));
    else if (!structured || (request.flags & CommandFlag.dontFragment) !== 0) await this.#readWhole(request);
    else await this.#readInParts(request);
  }

  async #status(request: Request): Promise<void> {
    const { contexts, channel } = this.#agreed;
    const descriptors = (request.flags & CommandFlag.requestOne) === 0 ? this.#limits.descriptors : 1;
    const chunks: Buffer[] = [];
    for (const [id, context] of contexts.entries()) {
      const statuses = await blockStatus(context, request.offset, request.length, descriptors);
      chunks.push(statusChunk(request, id, statuses, id === contexts.length - 1));
    }
    await channel.sender.send(...chunks);
  }

  async #readInParts(request: Request): Promise<void> {
    const { sender } = this.#agreed.channel;
    const end = request.offset + request.length;
    for (const part of await readParts(
      this.#agreed.export.disk,
      request.offset,
      request.length,
      this.#piece,
    )) {
      const done = part.offset + part.length === end;
      if (part.hole) await sender.send(holeChunk(request, part.offset, part.length, done));
      else
        await this.#withBuffer(part.length, async (content) => {
          await this.#read(part.offset, content);
          await sender.send(dataChunkHeader(request, part.offset, part.length, done), content);
        });
    }
  }

  /** One reply, of one piece or of many that nothing comes between. */
  async #readWhole(request: Request): Promise<void> {
    const { sender } = this.#agreed.channel;
    const { offset, length } = request;
    const header = this.#agreed.structured
      ? dataChunkHeader(request, offset, length, true)
      : simpleReply(request);
    await this.#withBuffer(Math.min(length, this.#piece), async (buffer) => {
      await this.#read(offset, buffer);
      if (buffer.length === length) {
        await sender.send(header, buffer);
        return;
      }
      await sender.exclusively(async (write) => {
        await write(header, buffer);
        for (let at = buffer.length; at < length; at += buffer.length) {
          const piece = buffer.subarray(0, Math.min(buffer.length, length - at));
          // The reply is promised: an error has no place in it, and only the end of the connection tells.
          await this.#read(offset + at, piece).catch((error: unknown) => this.#breakOff(error));
          await write(piece);
        }
      });
    });
  }

  #breakOff(error: unknown): never {
    this.#report(error);
    this.#agreed.channel.reader.stop();
    this.#agreed.channel.sender.giveUp(
      new NbdClientError(`a reply was begun that has no end: ${reasonOf(error)}`),
    );
    throw new Disconnected();
  }

  async #read(offset: number, target: Uint8Array): Promise<void> {
    await this.#agreed.export.disk.read(offset, target);
  }

  async #withBuffer(length: number, action: (buffer: Buffer) => Promise<void>): Promise<void> {
    await this.#buffer.take(length);
    try {
      await action(Buffer.allocUnsafeSlow(length));
    } finally {
      this.#buffer.giveBack(length);
    }
  }
}
