import type { Socket } from "node:net";
import { ByteReader } from "./byte-reader.ts";
import { Disconnected, NbdClientError } from "./client-error.ts";
import { type Channel, negotiate } from "./handshake.ts";
import type { NbdLimits } from "./limits.ts";
import type { NbdExport } from "./nbd-export.ts";
import { Sender } from "./sender.ts";
import { Transmission } from "./transmission.ts";

export interface ConnectionOptions {
  readonly exports: readonly NbdExport[];
  readonly limits: NbdLimits;
  readonly encrypt?: ((socket: Socket) => Promise<Socket>) | undefined;
  /** Hears why the client was dropped, and of disks that fail. */
  readonly report: (error: unknown, exportName: string | undefined) => void;
}

/** Every use of a socket notices its end by itself; an error without a listener would end the process. */
const ignore = (): void => undefined;

/** One client, from its greeting to its end. */
export class Connection {
  #stream: Socket;
  readonly #raw: Socket;
  readonly #options: ConnectionOptions;
  #reader: ByteReader | undefined;
  #exportName: string | undefined;
  #negotiating = true;
  #failure: unknown;
  /** Resolves when nothing of the connection is left. */
  readonly done: Promise<void>;

  constructor(socket: Socket, options: ConnectionOptions) {
    this.#stream = socket;
    this.#raw = socket;
    this.#options = options;
    socket.on("error", ignore);
    this.done = this.#run();
  }

  get negotiating(): boolean {
    return this.#negotiating;
  }

  /** Reads no more requests, answers those it has, and is gone after that time at the latest. */
  async close(time: number): Promise<void> {
    if (this.#negotiating) this.destroy();
    this.#reader?.stop();
    // A disk that never answers keeps its request, but neither the connection nor whoever closes it.
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(() => {
        this.destroy();
        resolve();
      }, time);
    });
    await Promise.race([this.done, late]);
    clearTimeout(timer);
  }

  destroy(reason?: Error): void {
    this.#failure ??= reason;
    this.#stream.destroy();
    this.#raw.destroy();
  }

  readonly #report = (error: unknown): void => this.#options.report(error, this.#exportName);

  #channel(stream: Socket): Channel {
    this.#reader = new ByteReader(stream);
    return { reader: this.#reader, sender: new Sender(stream, this.#options.limits.stallTime) };
  }

  async #encrypted(encrypt: (socket: Socket) => Promise<Socket>): Promise<Channel> {
    this.#reader?.detach();
    this.#stream = await encrypt(this.#raw);
    this.#stream.on("error", ignore);
    return this.#channel(this.#stream);
  }

  async #run(): Promise<void> {
    const { exports, limits, encrypt } = this.#options;
    const timer = setTimeout(
      () => this.destroy(new NbdClientError("it took too long to negotiate")),
      limits.handshakeTime,
    );
    try {
      const startTls = encrypt === undefined ? undefined : (): Promise<Channel> => this.#encrypted(encrypt);
      const agreed = await negotiate(this.#channel(this.#raw), {
        exports,
        limits,
        startTls,
        report: this.#report,
      });
      this.#negotiating = false;
      clearTimeout(timer);
      if (agreed !== undefined) {
        this.#exportName = agreed.export.name;
        await new Transmission(agreed, limits, this.#report).run();
      }
      await this.#sayGoodbye();
    } catch (error) {
      if (!(error instanceof Disconnected)) this.#failure ??= error;
    } finally {
      clearTimeout(timer);
      // What the socket says of a client that went away is no news; what was decided here is.
      const { errored } = this.#stream;
      if (errored instanceof NbdClientError) this.#failure ??= errored;
      this.destroy();
      if (this.#failure !== undefined) this.#report(this.#failure);
    }
  }

  async #sayGoodbye(): Promise<void> {
    const stream = this.#stream;
    if (stream.destroyed) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, this.#options.limits.stallTime);
      stream.once("close", resolve);
      stream.end(resolve);
      stream.once("close", () => clearTimeout(timer));
    });
  }
}
