import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach } from "vitest";
import { type NbdServeOptions, type NbdServer, serve } from "../../../src/nbd/index.ts";
import { RawClient } from "./raw-client.ts";

export interface Told {
  readonly message: string;
  readonly client: string;
  readonly export?: string;
}

export interface Serving {
  readonly server: NbdServer;
  /** What onError heard. */
  readonly told: Told[];
  readonly client: () => RawClient;
}

/** Servers and clients of one test, which end with it. */
export function useServers() {
  const dir = mkdtempSync(join(tmpdir(), "qcowal-nbd-"));
  const servers: NbdServer[] = [];
  const clients: RawClient[] = [];

  afterEach(async () => {
    for (const client of clients.splice(0)) client.socket.destroy();
    await Promise.all(servers.splice(0).map((server) => server.close()));
  });
  afterAll(() => {
    rmSync(dir, { recursive: true, force: true });
  });

  const start = async (
    options: Omit<NbdServeOptions, "listen"> & Partial<NbdServeOptions>,
  ): Promise<Serving> => {
    const told: Told[] = [];
    const server = await serve({
      listen: { port: 0 },
      onError: (error, where) =>
        told.push({ message: error instanceof Error ? error.message : String(error), ...where }),
      ...options,
    });
    servers.push(server);
    const client = (): RawClient => {
      const made = new RawClient(server);
      clients.push(made);
      return made;
    };
    return { server, told, client };
  };
  return { dir, start };
}
