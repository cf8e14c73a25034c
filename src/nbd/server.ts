import { once } from "node:events";
import { type AddressInfo, type ListenOptions, type Server, type Socket } from "node:net";
import { resolve } from "node:path";
import { QcowalError, reasonOf } from "../errors/index.ts";
import { NbdClientError } from "./client-error.ts";
import { assertNotCalledOff, closable } from "./closable.ts";
import { Connection } from "./connection.ts";
import { type NbdLimits, limitsFrom } from "./limits.ts";
import { type NbdExport, checkExports } from "./nbd-export.ts";
import { listenOnFile } from "./socket-file.ts";
import { type NbdTls, encrypter } from "./tls.ts";

/** A socket file of mode 0600, or a TCP port: 10809 of this machine alone where nothing is said; port 0 is any. */
export type NbdListen = { readonly socket: string } | { readonly host?: string; readonly port?: number };

export interface NbdServeOptions {
  readonly exports: readonly NbdExport[];
  readonly listen: NbdListen;
  /** Where set, clients have to encrypt. */
  readonly tls?: NbdTls;
  readonly limits?: Partial<NbdLimits>;
  /** Closes the server, as `close()`, which can be waited for; raised before that, nothing is opened: ABORTED. */
  readonly signal?: AbortSignal;
  /** Hears of disks that fail, and of clients that were dropped (NbdClientError). Must not throw. */
  readonly onError?: (error: unknown, where: { readonly client: string; readonly export?: string }) => void;
}

export interface NbdServer {
  /** Where it listens: an absolute path, or the address that was bound. */
  readonly address: { readonly socket: string } | { readonly host: string; readonly port: number };
  /** Clients at the moment. */
  readonly connections: number;
  /** What clients such as `nbdinfo` and `qemu-img` call an export. */
  uri(exportName: string): string;
  /** Takes no more clients, answers what is in flight for a bounded time, and removes the socket file. Idempotent. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

const DEFAULT_PORT = 10809;

/**
 * Serves disks to NBD clients, read-only: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
 * @throws TypeError for names and limits that cannot be
 * @throws QcowalError IO_FAILED when the address cannot be listened on; ABORTED
 */
export async function serve(options: NbdServeOptions): Promise<NbdServer> {
  const { exports, listen, tls, signal, onError = () => undefined } = options;
  checkExports(exports);
  const limits = limitsFrom(options.limits);
  assertNotCalledOff(signal);
  const encrypt = tls === undefined ? undefined : await encrypter(tls);
  const connections = new Set<Connection>();

  const accept = (socket: Socket): void => {
    const client =
      socket.remoteAddress === undefined ? "local" : `${socket.remoteAddress}:${socket.remotePort}`;
    const report = (error: unknown, name?: string): void =>
      onError(error, name === undefined ? { client } : { client, export: name });
    if (connections.size >= limits.connections && !makeRoom(connections)) {
      socket.destroy();
      report(new NbdClientError(`there are ${limits.connections} clients already`));
      return;
    }
    socket.setNoDelay(true);
    // A machine that went away says nothing: without this its connection would stay for ever.
    socket.setKeepAlive(true, 60_000);
    const connection = new Connection(socket, { exports, limits, encrypt, report });
    connections.add(connection);
    void connection.done.finally(() => connections.delete(connection));
  };

  const { createServer } = await import("node:net");
  // Half open: a client may end its side and still wait for replies.
  const newServer = (): Server => createServer({ allowHalfOpen: true }, accept);
  const { server, address, remove } = await bind(newServer, listen);

  const close = await closable(signal, async () => {
    const closed = once(server, "close");
    server.close();
    await remove();
    await Promise.all([...connections].map((connection) => connection.close(limits.closeTime)));
    await closed;
  });

  return {
    address,
    get connections() {
      return connections.size;
    },
    uri: (name) => uriOf(address, name, tls !== undefined),
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** Whoever negotiates longest has had the best chance. */
function makeRoom(connections: Set<Connection>): boolean {
  for (const connection of connections) {
    if (!connection.negotiating) continue;
    connections.delete(connection);
    connection.destroy(new NbdClientError("others wanted its place while it negotiated"));
    return true;
  }
  return false;
}

async function listening(server: Server, options: ListenOptions): Promise<Server> {
  server.listen(options);
  await once(server, "listening");
  // After that only accepting can fail, for want of descriptors: the client is gone then, the server stays.
  server.on("error", () => undefined);
  return server;
}

async function bind(newServer: () => Server, listen: NbdListen) {
  const server = newServer();
  if ("socket" in listen) {
    const socket = resolve(listen.socket);
    const remove = await listenOnFile(socket, (path) => listening(server, { path }));
    return { server, address: { socket }, remove };
  }
  const { host = "127.0.0.1", port = DEFAULT_PORT } = listen;
  try {
    await listening(server, { host, port });
  } catch (error) {
    throw new QcowalError("IO_FAILED", `cannot listen on ${host} port ${port}: ${reasonOf(error)}`, {
      cause: error,
      details: { host, port },
    });
  }
  const bound = server.address() as AddressInfo;
  return { server, address: { host: bound.address, port: bound.port }, remove: async () => undefined };
}

/** As https://github.com/NetworkBlockDevice/nbd/blob/master/doc/uri.md has it. */
function uriOf(address: NbdServer["address"], name: string, tls: boolean): string {
  const scheme = tls ? "nbds" : "nbd";
  const path = encodeURIComponent(name);
  if ("socket" in address) return `${scheme}+unix:///${path}?socket=${encodeURIComponent(address.socket)}`;
  const host = address.host.includes(":") ? `[${address.host}]` : address.host;
  return `${scheme}://${host}:${address.port}/${path}`;
}
