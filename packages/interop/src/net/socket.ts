/** A WebSocket without a network: what it sends waits in `up` until the test carries it to the server. */

type Listener = (event: unknown) => void;

export class FakeSocket {
  readonly CONNECTING = 0;
  readonly OPEN = 1;
  readonly CLOSING = 2;
  readonly CLOSED = 3;
  readyState = 0;
  bufferedAmount = 0;
  readonly up: string[] = [];
  /** How the client itself closed it. */
  closedBy: { code: number; reason: string } | undefined;
  readonly #listeners = new Map<string, Set<Listener>>();

  addEventListener(event: string, listener: Listener): void {
    this.#listeners.set(event, (this.#listeners.get(event) ?? new Set()).add(listener));
  }

  removeEventListener(event: string, listener: Listener): void {
    this.#listeners.get(event)?.delete(listener);
  }

  send(frame: string): void {
    if (this.readyState === this.OPEN) this.up.push(frame);
  }

  close(code = 1005, reason = ''): void {
    if (this.readyState >= this.CLOSING) return;
    this.closedBy = { code, reason };
    this.drop();
  }

  /** The connection is there. */
  open(): void {
    this.readyState = this.OPEN;
    this.#emit('open', {});
  }

  /** The connection is gone. */
  drop(): void {
    this.readyState = this.CLOSED;
    this.up.length = 0;
    this.#emit('close', {});
  }

  deliver(frame: string): void {
    if (this.readyState === this.OPEN) this.#emit('message', { data: frame });
  }

  #emit(event: string, value: unknown): void {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) listener(value);
  }
}
