import { setTimeout as delay } from "node:timers/promises";
import type { SyncClient } from "./sync-client.js";

/** Between two edits of one stream, so that frames, commits and deliveries interleave. */
const PACE_MS = 2;
/** Every so many edits a row is created instead of changed. */
const CREATE_EVERY = 10;

/**
 * Edits without end by one client. Each row belongs to one stream and its name carries a number that only
 * grows, so a lost edit shows as a number that is too small.
 */
export class EditStream {
  readonly label: string;
  readonly #client: SyncClient;
  readonly #orgId: string;
  readonly #rows: string[];
  readonly #paceMs: number;
  readonly #written = new Map<string, number>();
  #count = 0;
  #running = false;
  #loop: Promise<void> = Promise.resolve();

  constructor(client: SyncClient, label: string, orgId: string, rows: readonly string[], paceMs = PACE_MS) {
    this.#client = client;
    this.label = label;
    this.#orgId = orgId;
    this.#rows = [...rows];
    this.#paceMs = paceMs;
  }

  /** The last number written to each row. */
  get written(): ReadonlyMap<string, number> {
    return this.#written;
  }

  get count(): number {
    return this.#count;
  }

  start(): void {
    this.#running = true;
    this.#loop = this.#run();
  }

  async stop(): Promise<void> {
    this.#running = false;
    await this.#loop;
  }

  /** Notes the numbers of this stream that `observer` receives from now on. */
  receivedBy(observer: SyncClient): Map<string, number> {
    const received = new Map<string, number>();
    observer.store.addCellListener("users", null, "name", (_store, _table, row, _cell, name) => {
      const number = this.#numberIn(name);
      if (number !== undefined) received.set(row, number);
    });
    return received;
  }

  /** The number of this stream in a client's copy of a row; undefined when it has none. */
  numberAt(client: SyncClient, row: string): number | undefined {
    return this.#numberIn(client.user(row)?.name);
  }

  async #run(): Promise<void> {
    while (this.#running) {
      this.#count += 1;
      if (this.#count % CREATE_EVERY === 0) this.#create();
      else this.#change();
      await delay(this.#paceMs);
    }
  }

  #create(): void {
    const id = `${this.label}-${this.#count}`;
    this.#client.setUser(id, {
      id,
      orgId: this.#orgId,
      email: `${id}@example.test`,
      name: this.#name(),
      role: "member",
      age: null,
      active: true,
    });
    this.#rows.push(id);
    this.#written.set(id, this.#count);
  }

  #change(): void {
    const id = this.#rows[this.#count % this.#rows.length];
    if (id === undefined) return;
    this.#client.edit(id, "name", this.#name());
    this.#written.set(id, this.#count);
  }

  #name(): string {
    return `${this.label} ${this.#count}`;
  }

  #numberIn(name: unknown): number | undefined {
    if (typeof name !== "string" || !name.startsWith(`${this.label} `)) return undefined;
    return Number(name.slice(this.label.length + 1));
  }
}
