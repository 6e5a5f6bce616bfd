import { once } from "node:events";
import type { WebSocket } from "ws";
import type { Closed } from "./sync-client.js";
import { openSocket, type OpeningSocket } from "./sync-session.js";
import { waitFor } from "./wait.js";

/** Numbers of TinyBase's messages that tests write by hand. */
export const MESSAGE = { response: 0, getContentHashes: 1, contentHashes: 2, contentDiff: 3, getTableDiff: 4, getRowDiff: 5, getCellDiff: 6 } as const;

/** A client that sends whatever frame it is told to: no store, no synchronizer, no manners. */
export class RawClient {
  readonly received: string[] = [];
  #closed: Closed | undefined;
  readonly #opening: OpeningSocket;

  private constructor(opening: OpeningSocket) {
    this.#opening = opening;
    opening.socket.on("message", (data) => this.received.push(String(data)));
    opening.socket.on("close", (code, reason) => (this.#closed = { code, reason: String(reason) }));
    opening.socket.on("error", () => {}); // a refusal is seen by `once(…, "open")`
  }

  static async connect(opening: OpeningSocket): Promise<RawClient> {
    const client = new RawClient(opening);
    await once(client.#socket, "open");
    return client;
  }

  get connected(): boolean {
    return this.#socket.readyState === this.#socket.OPEN;
  }

  /** `to` is a client id, "S" for the server, or "" for everybody. */
  send(to: string, requestId: string | null, message: number, body: unknown): void {
    this.#socket.send(`${to}\n${JSON.stringify([requestId, message, body])}`);
  }

  /** Sends a frame that need not be a message. */
  sendRaw(frame: string | Uint8Array): void {
    this.#socket.send(frame);
  }

  async untilClosed(): Promise<Closed> {
    return await waitFor("the server to close the connection", () => this.#closed);
  }

  close(): void {
    this.#socket.terminate();
  }

  get #socket(): WebSocket {
    return this.#opening.socket;
  }
}

/** How an attempt to open a sync socket ended. */
export type Opening =
  | { readonly kind: "refused"; readonly status: number }
  | { readonly kind: "closed"; readonly code: number; readonly framesBefore: number }
  | { readonly kind: "open"; readonly protocol: string };

/** Tries to open a socket; "open" means that it answered a request for content hashes. */
export async function tryToOpen(url: string, token: string | undefined): Promise<Opening> {
  const { socket } = openSocket(url, token);
  let frames = 0;
  try {
    return await new Promise<Opening>((resolve, reject) => {
      socket.on("unexpected-response", (request, response) => {
        request.destroy();
        resolve({ kind: "refused", status: response.statusCode ?? 0 });
      });
      socket.on("open", () => socket.send(`\n${JSON.stringify(["AAAAAAAAAAA.AAAA", MESSAGE.getContentHashes, ""])}`));
      socket.on("message", () => {
        frames += 1;
        resolve({ kind: "open", protocol: socket.protocol });
      });
      socket.on("close", (code) => resolve({ kind: "closed", code, framesBefore: frames }));
      socket.on("error", reject);
    });
  } finally {
    socket.on("error", () => {}); // terminating a socket that is still opening reports an error
    socket.terminate();
  }
}
