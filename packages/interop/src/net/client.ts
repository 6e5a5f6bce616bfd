/** A client that is TinyBase itself: `createMergeableStore` and `createWsSynchronizer`. */

import { createMergeableStore, type MergeableStore } from 'tinybase/mergeable-store';
import { createWsSynchronizer } from 'tinybase/synchronizers/synchronizer-ws-client';
import type { WebSocket } from 'ws';

import { editStore } from '../store/edit.js';
import { addresses, type ClientSetup } from './schedule.js';
import { FakeSocket } from './socket.js';
import type { FakeTime } from './time.js';
import type { Op } from '../store/schedule.js';

type Synchronizer = Awaited<ReturnType<typeof createWsSynchronizer>>;

/** The statuses of a synchronizer. */
const LOADING = 1;

export class TinyBaseClient {
  /** By channel; a single-store client's is the empty one. */
  readonly stores = new Map<string, MergeableStore>();
  readonly down: string[] = [];
  readonly errors: string[] = [];
  /** Of the connection that there is. */
  key: string | undefined;
  socket: FakeSocket | undefined;
  #synchronizers: { channel: string; synchronizer: Synchronizer }[] = [];
  #connections = 0;
  #skewMs: number;

  constructor(
    readonly number: number,
    readonly setup: ClientSetup,
    readonly time: FakeTime,
  ) {
    this.#skewMs = setup.skewMs;
    const { channels } = addresses(setup);
    for (const channel of setup.multiplexed ? channels : ['']) {
      this.stores.set(channel, createMergeableStore(setup.uniqueId, () => time.now + this.#skewMs));
    }
  }

  set skewMs(skewMs: number) {
    this.#skewMs = skewMs;
  }

  /** A new socket, with new synchronizers on the same stores. */
  connect(): string {
    this.cut();
    const socket = new FakeSocket();
    this.socket = socket;
    for (const [channel, store] of this.stores) {
      this.#synchronize(channel, store, socket).catch((error: unknown) => this.errors.push(String(error)));
    }
    return this.#opened(socket);
  }

  /** The same socket connects again; whether that was possible. */
  reopen(): string | undefined {
    if (!this.setup.multiplexed || this.socket?.readyState !== this.socket?.CLOSED || !this.socket) return undefined;
    if (this.socket.closedBy) return undefined;
    return this.#opened(this.socket);
  }

  /** The socket is cut, and may be opened again. */
  drop(): void {
    if (this.socket?.readyState === this.socket?.OPEN) this.socket?.drop();
    this.key = undefined;
    this.down.length = 0;
  }

  /** The socket is cut and given up. */
  cut(): void {
    this.drop();
    this.socket = undefined;
    for (const { synchronizer } of this.#synchronizers.splice(0)) {
      synchronizer.destroy().catch((error: unknown) => this.errors.push(String(error)));
    }
  }

  edit(channel: string, ops: readonly Op[], rollBack: boolean): void {
    const store = this.stores.get(channel);
    if (store) editStore(store, ops, rollBack);
  }

  /** Whether TinyBase would not send an edit made now, nor tell that it is there. */
  isLoading(channel: string): boolean {
    return this.#synchronizers.some((one) => one.channel === channel && Number(one.synchronizer.getStatus()) === LOADING);
  }

  #opened(socket: FakeSocket): string {
    this.key = `tinybase${this.number}/${++this.#connections}==`;
    socket.open();
    return this.key;
  }

  async #synchronize(channel: string, store: MergeableStore, socket: FakeSocket): Promise<void> {
    const webSocket = socket as unknown as WebSocket;
    const onError = (error: unknown): void => void this.errors.push(String(error));
    const { multiplexed, fragmentBytes } = this.setup;
    const fragments = fragmentBytes > 0 ? fragmentBytes : undefined;
    const synchronizer = await (multiplexed
      ? createWsSynchronizer(store, webSocket, channel, 1, undefined, undefined, onError, fragments)
      : createWsSynchronizer(store, webSocket, 1, undefined, undefined, onError, fragments));
    if (socket !== this.socket) return void (await synchronizer.destroy());
    this.#synchronizers.push({ channel, synchronizer });
    await synchronizer.startSync();
  }
}
