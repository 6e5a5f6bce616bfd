import { setTimeout as delay } from "node:timers/promises";
import { createMergeableStore, type MergeableStore, type Row } from "tinybase";
import { createWsSynchronizer } from "tinybase/synchronizers/synchronizer-ws-client";
import type { WebSocket } from "ws";
import type { OpeningSocket } from "./sync-session.js";
import { waitFor } from "./wait.js";

const RETRY_MS = 50;
/** The server has all that this client had, and sync is switched off: there is nothing to come back for. */
const DRAINED_CODE = 4001;

export interface SyncClientOptions {
  /** Begins a connection; called again, with whatever has to be renewed, each time one was lost. */
  readonly open: () => Promise<OpeningSocket>;
  readonly onSend?: (sent: SentMessage) => void;
}

/** A message that the client's synchronizer sent, as TinyBase reports it. */
export interface SentMessage {
  /** Null means everybody. */
  readonly to: string | null;
  readonly requestId: string | null;
  readonly message: number;
  readonly body: unknown;
}

/** How a connection ended, as the client's socket tells it. */
export interface Closed {
  readonly code: number;
  readonly reason: string;
}

/** A browser's worth of TinyBase: the real store and synchronizer, and a loop that reconnects. */
export class SyncClient {
  readonly store: MergeableStore = createMergeableStore();
  /** Every frame that came in, over all connections. */
  readonly received: string[] = [];
  /** How each connection so far ended. */
  readonly closes: Closed[] = [];
  readonly #options: SyncClientOptions;
  #socket: WebSocket | undefined;
  #connected = false;
  #clientId = "";
  #wanted = false;
  #loop: Promise<void> = Promise.resolve();
  #lastFailure: unknown;

  constructor(options: SyncClientOptions) {
    this.#options = options;
  }

  static async connect(options: SyncClientOptions): Promise<SyncClient> {
    const client = new SyncClient(options);
    await client.connect();
    return client;
  }

  get connected(): boolean {
    return this.#connected;
  }

  /** The id under which the server knows the latest connection, from before it is open. */
  get clientId(): string {
    return this.#clientId;
  }

  /** The table as this client has it now. */
  users(): Record<string, Row> {
    return plain(this.store.getTable("users"));
  }

  user(id: string): Row | undefined {
    return this.store.hasRow("users", id) ? plain(this.store.getRow("users", id)) : undefined;
  }

  /** The mergeable content as JSON has it; undefined is U+FFFC, as on the wire. */
  content(): unknown {
    const content = this.store.getMergeableContent();
    return JSON.parse(JSON.stringify(content, (_key, value: unknown) => (value === undefined ? "\uFFFC" : value)));
  }

  setUser(id: string, row: Row): void {
    this.store.setRow("users", id, row);
  }

  edit(id: string, cell: string, value: string | number | boolean | null): void {
    this.store.setCell("users", id, cell, value);
  }

  deleteUser(id: string): void {
    this.store.delRow("users", id);
  }

  /**
   * Connects and synchronizes; from then on a lost connection is made again, until `disconnect` or until
   * the server has drained this client.
   */
  async connect(): Promise<void> {
    this.#wanted = true;
    this.#loop = this.#keepConnected();
    await this.untilConnected();
  }

  /** The same without waiting; nothing, if it is at it already. */
  stayConnected(): void {
    if (this.#wanted) return;
    this.#wanted = true;
    this.#loop = this.#keepConnected();
  }

  /** Comes back while sync is switched off: connects, hands over what it has, and is sent away. */
  async visit(): Promise<Closed> {
    const before = this.closes.length;
    this.#wanted = true;
    this.#loop = this.#keepConnected();
    return await waitFor("the server to close the connection", () => this.closes[before], () => this.#lastFailure);
  }

  async untilConnected(): Promise<void> {
    await waitFor("the sync client to connect", () => this.connected, () => this.#lastFailure);
  }

  /** Goes offline and stays there; edits are kept in the store. */
  async disconnect(): Promise<void> {
    this.#wanted = false;
    this.#socket?.terminate();
    await this.#loop;
  }

  async #keepConnected(): Promise<void> {
    while (this.#wanted) {
      try {
        const { end } = await this.#open();
        await end;
      } catch (error) {
        this.#lastFailure = error;
      }
      if (this.#wanted) await delay(RETRY_MS);
    }
  }

  /** One connection, from opening to synchronized; gives a promise of its end. */
  async #open(): Promise<{ readonly end: Promise<void> }> {
    const { socket, clientId } = await this.#options.open();
    this.#socket = socket;
    this.#clientId = clientId;
    const closed = new Promise<void>((resolve) => {
      socket.once("close", (code, reason) => {
        this.closes.push({ code, reason: String(reason) });
        if (code === DRAINED_CODE) this.#wanted = false;
        resolve();
      });
    });
    socket.on("message", (data) => this.received.push(String(data)));
    socket.on("error", (error) => (this.#lastFailure = error));
    const synchronizer = await createWsSynchronizer(this.store, socket, 1, (to, requestId, message, body) =>
      this.#options.onSend?.({ to, requestId, message, body }),
    );
    if (this.#wanted) {
      await synchronizer.startSync();
      this.#connected = socket.readyState === socket.OPEN;
    } else {
      socket.terminate();
    }
    const end = closed.then(async () => {
      this.#connected = false;
      await synchronizer.destroy();
    });
    return { end };
  }
}

/** A copy with ordinary prototypes: TinyBase's objects have none, and would equal no JSON. */
function plain<T extends object>(object: T): T {
  return JSON.parse(JSON.stringify(object)) as T;
}
