import assert from "node:assert/strict";
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
  /** Called with each frame that comes. */
  onReceive: (frame: string) => void = () => {};
  #closed: Closed | undefined;
  /** What stands before each frame, in both directions: nothing, or the channel. */
  #prefix = "";
  #asked = 0;
  readonly #opening: OpeningSocket;

  private constructor(opening: OpeningSocket) {
    this.#opening = opening;
    opening.socket.on("message", (data) => this.#receive(String(data)));
    opening.socket.on("close", (code, reason) => (this.#closed = { code, reason: String(reason) }));
    opening.socket.on("error", () => {}); // a refusal is seen by `once(…, "open")`
  }

  static async connect(opening: OpeningSocket): Promise<RawClient> {
    const client = new RawClient(opening);
    await once(client.#socket, "open");
    return client;
  }

  /** On a channel of a multiplexed socket, whose frames are wrapped and unwrapped. */
  static async subscribe(opening: OpeningSocket, channel: string): Promise<RawClient> {
    const client = await RawClient.connect(opening);
    client.sendRaw(hello("hello"));
    client.sendRaw(subscription("subscription", channel));
    await waitFor("the channel to be confirmed", () => client.confirms("subscription"), () => client.received);
    client.received.length = 0;
    client.#prefix = `M\n${channel}\n`;
    return client;
  }

  /** Whether a control message of a multiplexed socket was confirmed. */
  confirms(requestId: string): boolean {
    return this.received.some((frame) => {
      const { to, requestId: answered, message } = parseFrame(frame);
      return to === "S" && message === CONTROL && answered === requestId;
    });
  }

  /** Returns once the server has dealt with everything that was sent before: it reads a socket in order. */
  async untilHeard(): Promise<void> {
    const requestId = `heard------.${String((this.#asked += 1)).padStart(4, "0")}`;
    this.send("S", requestId, MESSAGE.getContentHashes, "");
    const answers = () => this.received.map(parseFrame).some((frame) => frame.requestId === requestId);
    await waitFor("an answer to a request", answers, () => this.received.slice(-3));
  }

  get connected(): boolean {
    return this.#socket.readyState === this.#socket.OPEN;
  }

  /** `to` is a client id, "S" for the server, or "" for everybody. */
  send(to: string, requestId: string | null, message: number, body: unknown): void {
    this.#socket.send(`${this.#prefix}${to}\n${JSON.stringify([requestId, message, body])}`);
  }

  /** The same in pieces, as transports that limit a frame get it. */
  sendInFragments(to: string, requestId: string | null, message: number, body: unknown, total: number): void {
    const text = JSON.stringify([requestId, message, body]);
    const length = Math.ceil(text.length / total);
    const id = `fragment${String((this.#asked += 1)).padStart(8, "0")}`;
    for (let index = 0; index < total; index += 1) {
      const piece = text.slice(index * length, (index + 1) * length);
      this.#socket.send(`${this.#prefix}${to}\n${id}\n${index}\n${total}\n${piece}`);
    }
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

  #receive(frame: string): void {
    if (!frame.startsWith(this.#prefix)) return;
    const payload = frame.slice(this.#prefix.length);
    this.received.push(payload);
    this.onReceive(payload);
  }

  get #socket(): WebSocket {
    return this.#opening.socket;
  }
}

/** The message number of a multiplexed socket's control messages. */
const CONTROL = -1;

function hello(requestId: string): string {
  return `S\n${JSON.stringify([requestId, CONTROL, [0, 1]])}`;
}

function subscription(requestId: string, channel: string): string {
  return `S\n${JSON.stringify([requestId, CONTROL, [1, channel]])}`;
}

/** A frame's parts; of a frame that is no message, whom it is for. */
export function parseFrame(frame: string): { readonly to: string; readonly requestId?: unknown; readonly message?: unknown } {
  const end = frame.indexOf("\n");
  const to = frame.slice(0, end);
  try {
    const [requestId, message] = JSON.parse(frame.slice(end + 1)) as unknown[];
    return { to, requestId, message };
  } catch {
    return { to };
  }
}

/**
 * Asks a multiplexed socket for a channel, and greets it once more: when that is answered, or the socket closed, it
 * has been decided about the channel.
 */
export async function tryChannel(opening: OpeningSocket, channel: string): Promise<"open" | "refused"> {
  const raw = await RawClient.connect(opening);
  try {
    raw.sendRaw(hello("before"));
    raw.sendRaw(subscription("asked", channel));
    raw.sendRaw(hello("after"));
    await waitFor("an answer after the channel", () => !raw.connected || raw.confirms("after"), () => raw.received);
    const data = raw.received.some((frame) => frame.startsWith("M\n"));
    return data || raw.confirms("asked") ? "open" : "refused";
  } finally {
    raw.close();
  }
}

/** How an attempt to open a sync socket ended. */
export type Opening =
  | { readonly kind: "refused"; readonly status: number }
  | { readonly kind: "closed"; readonly code: number; readonly framesBefore: number }
  | { readonly kind: "open"; readonly protocol: string };

/**
 * Tries to open a socket; "open" means that it answered a request for content hashes. A `target` stands as it is in
 * the place of the URL's path.
 */
export async function tryToOpen(url: string, token: string | undefined, target?: string): Promise<Opening> {
  const { socket } = openSocket(url, token, target);
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

/** Refused at the upgrade, or closed before a single frame came. */
export function assertShut(opening: Opening, what = ""): void {
  switch (opening.kind) {
    case "refused":
      assert.ok(opening.status >= 400 && opening.status < 500, `${what}: status ${opening.status}`);
      break;
    case "closed":
      assert.equal(opening.framesBefore, 0, what);
      assert.notEqual(opening.code, 1000, what);
      break;
    case "open":
      assert.fail(`${what}: the socket opened and was answered`);
  }
}
