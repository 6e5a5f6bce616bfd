import { setTimeout as delay } from "node:timers/promises";
import type { WebSocket } from "ws";
import type { OpeningSocket } from "./sync-session.js";

const RETRY_MS = 50;
const OPEN = 1;

type Listener = (event: unknown) => void;

/**
 * A socket that is made again whenever it is lost, and to its user stays the same object, as the
 * "reconnecting WebSocket" that TinyBase's documentation recommends. TinyBase says Hello and subscribes anew by itself.
 */
export class ReconnectingSocket {
  readonly CONNECTING = 0;
  readonly OPEN = OPEN;
  readonly CLOSING = 2;
  readonly CLOSED = 3;
  /** How often it was open so far, and the subprotocol that the server confirmed last. */
  opened = 0;
  protocol = "";
  readonly #listeners = new Map<string, Set<Listener>>();
  readonly #open: () => Promise<OpeningSocket>;
  #socket: WebSocket | undefined;
  #wanted = true;
  readonly #loop: Promise<void>;

  constructor(open: () => Promise<OpeningSocket>) {
    this.#open = open;
    this.#loop = this.#keepConnected();
  }

  /** As TinyBase's types want it. */
  asWebSocket(): WebSocket {
    return this as unknown as WebSocket;
  }

  get readyState(): number {
    if (!this.#wanted) return this.CLOSED;
    return this.#socket?.readyState === OPEN ? OPEN : this.CONNECTING;
  }

  addEventListener(event: string, listener: Listener): void {
    this.#listeners.set(event, (this.#listeners.get(event) ?? new Set()).add(listener));
  }

  removeEventListener(event: string, listener: Listener): void {
    this.#listeners.get(event)?.delete(listener);
  }

  send(frame: string): void {
    this.#socket?.send(frame);
  }

  /** Loses the present connection without a word; it is made again by itself. */
  cut(): void {
    this.#socket?.terminate();
  }

  close(): void {
    this.#wanted = false;
    this.#socket?.terminate();
  }

  async closed(): Promise<void> {
    this.close();
    await this.#loop;
  }

  async #keepConnected(): Promise<void> {
    while (this.#wanted) {
      try {
        await this.#connection();
      } catch {
        // The server is away, perhaps because the test has killed it.
      }
      if (this.#wanted) await delay(RETRY_MS);
    }
  }

  async #connection(): Promise<void> {
    const { socket } = await this.#open();
    this.#socket = socket;
    await new Promise<void>((resolve) => {
      socket.on("open", () => {
        this.opened += 1;
        this.protocol = socket.protocol;
        this.#tell("open", {});
      });
      socket.on("message", (data) => this.#tell("message", { data }));
      socket.on("error", () => {}); // the close that follows is what counts
      socket.on("close", (code, reason) => {
        this.#tell("close", { code, reason: String(reason) });
        resolve();
      });
    });
  }

  #tell(event: string, details: object): void {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) listener({ type: event, ...details });
  }
}
