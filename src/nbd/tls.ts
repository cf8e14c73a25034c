import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { reasonOf } from "../errors/index.ts";
import { NbdClientError } from "./client-error.ts";

/** In PEM. */
export interface NbdTls {
  readonly key: string | Uint8Array;
  readonly cert: string | Uint8Array;
  /** Where set, a client has to show a certificate that one of these signed. */
  readonly clientCa?: string | Uint8Array;
}

const bytesOf = (pem: string | Uint8Array): string | Buffer =>
  typeof pem === "string" ? pem : Buffer.from(pem);

/** @throws Error from OpenSSL for keys and certificates that cannot be used */
export async function encrypter({
  key,
  cert,
  clientCa,
}: NbdTls): Promise<(socket: Socket) => Promise<TLSSocket>> {
  // Loading TLS takes memory and time, which a process that never serves should not pay.
  const { createServer } = await import("node:tls");
  const options = {
    key: bytesOf(key),
    cert: bytesOf(cert),
    ...(clientCa === undefined ? {} : { ca: bytesOf(clientCa), requestCert: true, rejectUnauthorized: true }),
  };
  // A server that does not listen: TLS on a connection that is there already. It alone checks a client's certificate.
  createServer(options);
  return (socket) =>
    new Promise((resolve, reject) => {
      const fail = (error: unknown): void => reject(new NbdClientError(`no TLS with it: ${reasonOf(error)}`));
      createServer(options)
        .on("secureConnection", resolve)
        .on("tlsClientError", fail)
        .emit("connection", socket);
      socket.once("close", () => fail("it went away."));
    });
}
