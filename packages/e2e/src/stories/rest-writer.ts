import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import type { Crossfade } from "../harness/crossfade.js";
import type { User } from "../harness/legacy-api.js";
import { ADA, type World } from "../harness/world.js";

/** A caller waits no longer. */
const PATIENCE_MS = 3_000;
/**
 * After a request of which nobody heard the end: longer than legacy takes when it is slow, or it might be done after the next one, in an order
 * that is not crossfade's.
 */
const DOUBT_MS = 600;

/** What its writer knows of a row. */
interface Known {
  /** The last number that was acknowledged. */
  number: number;
  /** Whether a deletion was acknowledged, or may have been done. */
  deleted: "no" | "perhaps" | "yes";
}

/** Writes rows of its own by REST, one after the other, and remembers what was acknowledged. */
export class RestWriter {
  readonly #world: World;
  readonly #label: string;
  readonly #through: () => Crossfade;
  readonly #rows = new Map<string, Known>();
  #count = 0;
  #running = false;
  #loop: Promise<void> = Promise.resolve();
  acknowledged = 0;

  constructor(world: World, label: string, through: () => Crossfade) {
    this.#world = world;
    this.#label = label;
    this.#through = through;
  }

  start(): void {
    this.#running = true;
    this.#loop = this.#run();
  }

  async stop(): Promise<void> {
    this.#running = false;
    await this.#loop;
  }

  /** Every acknowledged write is in these rows, or a later one of this writer. */
  check(rows: Readonly<Record<string, User>>): void {
    for (const [id, { number, deleted }] of this.#rows) {
      const row = rows[id];
      if (deleted === "yes") assert.equal(row, undefined, `${id} was deleted`);
      else if (row !== undefined) assert.ok(Number(row.name.split(" ")[1]) >= number, `${id}: ${number} was acknowledged, it has ${row.name}`);
      else assert.equal(deleted, "perhaps", `${id} is lost: ${number} was acknowledged`);
    }
  }

  async #run(): Promise<void> {
    while (this.#running) {
      this.#count += 1;
      const ids = [...this.#rows].filter(([, { deleted }]) => deleted === "no").map(([id]) => id);
      const id = ids[this.#count % Math.max(ids.length, 1)];
      if (id === undefined || this.#count % 7 === 0) await this.#create(`${this.#label}${this.#count}`);
      else if (this.#count % 11 === 0) await this.#delete(id);
      else await this.#update(id);
      await delay(10);
    }
  }

  async #create(id: string): Promise<void> {
    const done = await this.#send("POST", "/users", { id, email: `${id}@example.test`, name: this.#name(), role: "member" });
    if (done === "yes") this.#rows.set(id, { number: this.#count, deleted: "no" });
  }

  async #update(id: string): Promise<void> {
    const done = await this.#send("PATCH", `/users/${id}`, { name: this.#name() });
    const known = this.#rows.get(id);
    if (done === "yes" && known !== undefined) known.number = this.#count;
  }

  async #delete(id: string): Promise<void> {
    const done = await this.#send("DELETE", `/users/${id}`);
    const known = this.#rows.get(id);
    if (known !== undefined) known.deleted = done;
  }

  #name(): string {
    return `${this.#label} ${this.#count}`;
  }

  async #send(method: string, path: string, body?: unknown): Promise<"yes" | "no" | "perhaps"> {
    try {
      const response = await fetch(`${this.#through().url}${path}`, {
        method,
        signal: AbortSignal.timeout(PATIENCE_MS),
        headers: { authorization: `Bearer ${await this.#world.issuer.session(ADA)}`, "content-type": "application/json" },
        body: body === undefined ? null : JSON.stringify(body),
      });
      await response.arrayBuffer();
      if (response.ok) {
        this.acknowledged += 1;
        return "yes";
      }
      // A gateway's answers leave it open; the API's own "later" does not.
      if (response.status !== 502 && response.status !== 504) return "no";
    } catch {
      // Nobody heard the end of it.
    }
    await delay(DOUBT_MS);
    return "perhaps";
  }
}
