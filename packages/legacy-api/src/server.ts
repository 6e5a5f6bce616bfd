import { once } from "node:events";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { createAdaptorServer } from "@hono/node-server";
import { createApp } from "./app.js";
import { openDatabase } from "./database.js";
import type { Settings } from "./settings.js";

/** How long requests under way may take to finish once the server is stopping, in milliseconds. */
const DRAIN_MS = 10_000;

export interface RunningServer {
  readonly port: number;
  /** Takes no new connections, lets requests under way finish, then closes the database. */
  stop(): Promise<void>;
}

export async function startServer(settings: Settings): Promise<RunningServer> {
  const database = await openDatabase(settings);
  const app = createApp({
    settings,
    database,
    now: () => new Date(),
    reportError: (error) => console.error(error),
  });
  const server = createAdaptorServer({ fetch: app.fetch, hostname: settings.host }) as Server;
  server.listen(settings.port, settings.host);
  await once(server, "listening"); // rejects when the address cannot be had
  return {
    port: (server.address() as AddressInfo).port,
    async stop() {
      const closed = once(server, "close");
      server.close(); // idle keep-alive connections are closed by this too
      const deadline = setTimeout(() => server.closeAllConnections(), DRAIN_MS);
      await closed;
      clearTimeout(deadline);
      database.close();
    },
  };
}
