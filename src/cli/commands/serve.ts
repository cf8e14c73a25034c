import { readFile } from "node:fs/promises";
import { type Command, InvalidArgumentError } from "commander";
import { type ImageServer, type NbdTls, isQcowalError, serveImages } from "../../index.ts";
import { interruptible } from "../interruption.ts";
import { toJson } from "../json.ts";
import { misuse } from "../misuse.ts";
import { refOf } from "../selector.ts";
import { openTerminal } from "../terminal.ts";
import { printable } from "../views/text.ts";

interface ServeCommandOptions {
  readonly socket?: string;
  readonly port?: number;
  readonly bind?: string;
  readonly changedSince?: string;
  readonly tlsKey?: string;
  readonly tlsCert?: string;
  readonly tlsClientCa?: string;
  readonly maxConnections?: number;
  readonly forceShare?: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

const integer =
  (first: number, last: number) =>
  (text: string): number => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= first && value <= last) return value;
    throw new InvalidArgumentError(`Give a number from ${first} to ${last}.`);
  };

export function addServeCommand(program: Command): void {
  program
    .command("serve")
    .description("serve images and their snapshots to NBD clients, read-only, until Ctrl-C")
    .argument("<image...>", "qcow2 images")
    .option("--socket <path>", "listen on a Unix socket that only this user can open")
    .option("--port <n>", "listen on a TCP port (default: 10809; 0 is any)", integer(0, 65_535))
    .option("--bind <address>", "with a port: the address to listen on (default: 127.0.0.1)")
    .option("--changed-since <snapshot>", "tell clients which parts are mapped otherwise than there")
    .option("--tls-key <file>", "clients have to encrypt: private key, in PEM")
    .option("--tls-cert <file>", "certificate of the server, in PEM")
    .option("--tls-client-ca <file>", "clients have to show a certificate that this one signed")
    .option("--max-connections <n>", "clients at a time", integer(1, 100_000))
    .option("-U, --force-share", "take no locks, beside a running VM; its disk may be of no single moment")
    .option("--json", "print where it listens and what it serves as JSON")
    .option("-q, --quiet", "print nothing but data and errors")
    .addHelpText(
      "after",
      `
The disk as it is has the name of the file without .qcow2, a snapshot follows
behind an @: web, web@monday. While images are served nobody can write to them.
What was changed since a snapshot is the context qcowal:changed:NAME.

With -U others may revert or resize the disk meanwhile. Clients that are connected
then get an error and are hung up on, so that none mixes two states; who connects
gets the disk as it is by then. A snapshot stays as it is until it is deleted.

Examples:
  $ qcowal serve web.qcow2 --socket /run/web.sock
  $ nbdinfo --list 'nbd+unix://?socket=/run/web.sock'
  $ nbdcopy 'nbd+unix:///web@monday?socket=/run/web.sock' monday.raw
  $ nbdfuse mnt 'nbd+unix:///web@monday?socket=/run/web.sock'   # mnt/nbd is the disk`,
    )
    .action(serve);
}

async function serve(images: string[], options: ServeCommandOptions): Promise<void> {
  const { socket, port, bind, changedSince, maxConnections } = options;
  if (socket !== undefined && (port !== undefined || bind !== undefined)) {
    throw misuse("--socket is instead of --port and --bind");
  }
  const terminal = openTerminal(options.quiet === true);
  const tls = await tlsOf(options);
  await interruptible(async (signal) => {
    const server = await serveImages(images, {
      listen:
        socket === undefined
          ? { ...(port === undefined ? {} : { port }), ...(bind === undefined ? {} : { host: bind }) }
          : { socket },
      ...(changedSince === undefined ? {} : { changedSince: refOf(changedSince) }),
      ...(tls === undefined ? {} : { tls }),
      ...(maxConnections === undefined ? {} : { limits: { connections: maxConnections } }),
      forceShare: options.forceShare === true,
      signal,
      onError(error, { client, export: name }) {
        const what = isQcowalError(error) || error instanceof Error ? error.message : String(error);
        terminal.say(`${client}${name === undefined ? "" : `, ${printable(name)}`}: ${printable(what)}`);
      },
    });
    terminal.data(options.json === true ? toJson(described(server)) : urisOf(server));
    terminal.say("Serving, read-only. Ctrl-C ends it.");
    await aborted(signal);
    await server.close();
  });
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });

const described = (server: ImageServer): object => ({
  address: server.address,
  exports: server.exports.map(({ name, size, image }) => ({ name, uri: server.uri(name), size, image })),
});

const urisOf = (server: ImageServer): string => server.exports.map(({ name }) => server.uri(name)).join("\n");

async function tlsOf({ tlsKey, tlsCert, tlsClientCa }: ServeCommandOptions): Promise<NbdTls | undefined> {
  if (tlsKey === undefined && tlsCert === undefined && tlsClientCa === undefined) return undefined;
  if (tlsKey === undefined || tlsCert === undefined) throw misuse("TLS needs both --tls-key and --tls-cert");
  return {
    key: await readFile(tlsKey),
    cert: await readFile(tlsCert),
    ...(tlsClientCa === undefined ? {} : { clientCa: await readFile(tlsClientCa) }),
  };
}
