/** What a client can cost the server. Times are milliseconds, sizes bytes. */
export interface NbdLimits {
  /** Clients at once. At the limit the client that has been negotiating longest makes room; one that reads is never dropped for it. */
  readonly connections: number;
  /** How long a client may negotiate, TLS included. */
  readonly handshakeTime: number;
  /** How long a reply of at most 1 MiB may wait for a client that does not read. Clients without requests may idle. */
  readonly stallTime: number;
  /** How long `close` lets requests in flight end. */
  readonly closeTime: number;
  /** Requests in flight, of one connection; more are left in the socket. */
  readonly requests: number;
  /** Content read and not yet sent, of one connection. */
  readonly bufferedBytes: number;
  /** Payload of an option. */
  readonly optionBytes: number;
  /** Descriptors in the answer to a block status request, which may always end early. */
  readonly descriptors: number;
}

export const DEFAULT_LIMITS: NbdLimits = {
  connections: 64,
  handshakeTime: 10_000,
  stallTime: 60_000,
  closeTime: 5_000,
  requests: 64,
  bufferedBytes: 8 * 1024 * 1024,
  optionBytes: 64 * 1024,
  descriptors: 4096,
};

/** @throws TypeError for a limit that is unknown, or no positive integer */
export function limitsFrom(given: Partial<NbdLimits> = {}): NbdLimits {
  for (const [name, value] of Object.entries(given)) {
    if (!(name in DEFAULT_LIMITS)) throw new TypeError(`unknown limit ${JSON.stringify(name)}`);
    // Longer than a timer can be, or than a buffer is wise to be: 2^31 - 1 is the limit of both.
    if (!Number.isInteger(value) || value < 1 || value > 0x7fffffff)
      throw new TypeError(`the limit ${name} has to be an integer from 1 to 2147483647`);
  }
  return { ...DEFAULT_LIMITS, ...given };
}
