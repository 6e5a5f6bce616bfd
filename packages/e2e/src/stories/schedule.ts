import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import type { Crossfade } from "../harness/crossfade.js";
import { EditStream } from "../harness/edit-stream.js";
import { equal } from "../harness/equal.js";
import type { SyncClient } from "../harness/sync-client.js";
import type { Stage } from "../harness/flags.js";
import { RestClient } from "../harness/rest-client.js";
import { waitFor } from "../harness/wait.js";
import { ADA, BOB, type World } from "../harness/world.js";
import { RestWriter } from "./rest-writer.js";

/** How long legacy takes at most, when it is slow: longer than a kill and the next request. */
const SLOW_MS = 250;
/** How often the list on a screen is asked for. */
const SCREEN_MS = 200;
/** Between two edits of a sync client. */
const EDIT_MS = 15;
/** Between two actions at most. */
const PAUSE_MS = 200;
/** How long a process is stopped at most. */
const STOPPED_MS = 1_200;

/** What happens in a schedule; each must happen at some time, or the schedules prove nothing. */
export const FAULTS = ["kill", "failover", "stop", "pause", "slow", "failing", "offline", "rollback", "lift", "stage"] as const;
export type Fault = (typeof FAULTS)[number];

/** Random numbers from a seed (mulberry32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  below(bound: number): number {
    return Math.floor(this.next() * bound);
  }

  pick<T>(of: readonly T[]): T {
    return of[this.below(of.length)] as T;
  }
}

/**
 * One schedule with real processes: REST writers and sync clients write without end, while processes are killed, stopped and
 * paused, the API is slow or fails, and rollbacks are thrown and lifted. In the end everything is mended: legacy and all clients
 * have the same rows, and every acknowledged write is in them.
 */
export class Schedule {
  readonly #world: World;
  readonly #random: Random;
  readonly #counts: Map<Fault, number>;
  readonly #processes: readonly Crossfade[];
  readonly #down = new Set<Crossfade>();
  #rolledBack = false;

  constructor(world: World, seed: number, counts: Map<Fault, number>) {
    this.#world = world;
    this.#random = new Random(seed);
    this.#counts = counts;
    this.#processes = [world.crossfade, ...world.followers];
  }

  async run(label: string, steps = 6 + this.#random.below(6)): Promise<void> {
    const screen = new RestClient({ baseUrl: () => this.#up().url, issuer: this.#world.issuer, person: ADA });
    this.#world.onEnd(() => screen.close());
    const list = screen.watchList({ limit: 100, sort: "-createdAt" }, SCREEN_MS);
    const clients = [await this.#client(ADA), await this.#client(BOB)] as const;
    const streams = [
      new EditStream(clients[0], `${label}a`, ADA.orgId, [], EDIT_MS),
      new EditStream(clients[1], `${label}b`, BOB.orgId, [], EDIT_MS),
    ] as const;
    const writers = ["r", "s"].map((name) => new RestWriter(this.#world, `${label}${name}`, () => this.#up()));
    for (const one of [...streams, ...writers]) {
      this.#world.onEnd(() => one.stop());
      one.start();
    }
    for (let n = 0; n < steps; n += 1) {
      await this.#act(clients);
      await delay(this.#random.below(PAUSE_MS));
    }
    await Promise.all([...streams, ...writers].map((one) => one.stop()));
    await this.#mend(clients);
    const rows = await this.#world.legacy.rows(ADA);
    for (const stream of streams) {
      for (const [row, number] of stream.written) assert.equal(rows[row]?.name, `${stream.label} ${number}`, `sync edit of ${row}`);
    }
    for (const writer of writers) writer.check(rows);
    const known = new Map(Object.entries(rows));
    await waitFor("the list on the screen to show what legacy has", () => {
      const shown = list.result().data?.body.data;
      return shown !== undefined && shown.length === Math.min(known.size, 100) && shown.every((row) => equal(row, known.get(row.id)));
    });
    list.stop();
    screen.close();
    for (const client of clients) await client.disconnect();
  }

  /** A process that runs, as a client would find one. */
  #up(): Crossfade {
    return this.#random.pick(this.#processes.filter((one) => !this.#down.has(one)));
  }

  async #client(person: typeof ADA): Promise<SyncClient> {
    return await this.#world.syncClient(person, {}, () => this.#up());
  }

  #saw(fault: Fault): void {
    this.#counts.set(fault, (this.#counts.get(fault) ?? 0) + 1);
  }

  async #act(clients: readonly SyncClient[]): Promise<void> {
    const chance = this.#random.below(100);
    if (chance < 22) await this.#kill();
    else if (chance < 30) await this.#stop();
    else if (chance < 40) await this.#pause();
    else if (chance < 52) await this.#legacy("slow", { delayMs: SLOW_MS });
    else if (chance < 60) await this.#legacy("failing", { status: 503 });
    else if (chance < 70) await this.#legacy(undefined, {});
    else if (chance < 82) await this.#offline(this.#random.pick(clients));
    else if (chance < 88) await this.#roll();
    else if (chance < 94) await this.#move(this.#random.pick(["off", "dualwrite", "shadow", "live"]));
    else await this.#restart();
  }

  async #kill(): Promise<void> {
    const victim = this.#up();
    const wasHolder = await holds(victim);
    await victim.kill();
    this.#saw("kill");
    this.#down.add(victim);
    if (this.#down.size === this.#processes.length) return await this.#restart();
    if (!wasHolder) return;
    await waitFor("another process to take over", async () => await holds(this.#up()));
    this.#saw("failover");
  }

  async #stop(): Promise<void> {
    if (this.#down.size > 0) return await this.#restart();
    const one = this.#up();
    await one.stop();
    this.#saw("stop");
    this.#down.add(one);
  }

  async #pause(): Promise<void> {
    const one = this.#up();
    one.pause();
    this.#saw("pause");
    await delay(this.#random.below(STOPPED_MS));
    one.resume();
  }

  async #legacy(fault: Fault | undefined, faults: { delayMs?: number; status?: 503 }): Promise<void> {
    await this.#world.legacy.setFaults(faults);
    if (fault !== undefined) this.#saw(fault);
  }

  async #offline(client: SyncClient): Promise<void> {
    await client.disconnect();
    this.#saw("offline");
    await delay(this.#random.below(PAUSE_MS));
    client.stayConnected();
  }

  async #move(stage: Stage): Promise<void> {
    await this.#world.flags.set({ stage });
    this.#saw("stage");
  }

  async #roll(): Promise<void> {
    const args = ["--reason", "a schedule", "--actor", "schedule"];
    if (this.#rolledBack) return await this.#lift();
    await this.#up().run("rollback", ...args);
    this.#rolledBack = true;
    this.#saw("rollback");
  }

  async #lift(): Promise<void> {
    await this.#up().run("rollback", "--lift", "--reason", "over", "--actor", "schedule");
    this.#rolledBack = false;
    this.#saw("lift");
  }

  async #restart(): Promise<void> {
    for (const one of this.#down) await one.restart();
    this.#down.clear();
  }

  /** Ends all faults, and waits until nothing is on its way. */
  async #mend(clients: readonly SyncClient[]): Promise<void> {
    await this.#world.legacy.setFaults({});
    await this.#world.flags.set({ stage: "live" });
    await this.#restart();
    if (this.#rolledBack) await this.#lift();
    const holder = await waitFor("a process to hold the database", async () => {
      for (const one of this.#processes) if (await holds(one)) return one;
      return undefined;
    });
    let last: unknown;
    await waitFor(
      "everything to come to rest",
      async () => {
        const [users] = await holder.stages();
        if (users?.effective === "live" && users.store === "unfinished") await holder.tryRun("backfill");
        const { pending, dead } = await holder.outbox();
        if (dead > 0) await holder.tryRun("outbox", "retry", "--all");
        // A rollback has sent them away.
        for (const client of clients) client.stayConnected();
        const rows = await this.#world.legacy.rows(ADA);
        const { store, writes_under_way, effective } = users ?? {};
        const differ = clients.flatMap((client) => differences(client.users(), rows));
        last = { effective, store, writes_under_way, pending, dead, connected: clients.map((one) => one.connected), differ: differ.slice(0, 3) };
        return (
          users?.store === "finished" && users.writes_under_way === 0 && pending === 0 && dead === 0 &&
          clients.every((client) => client.connected) && differ.length === 0
        );
      },
      () => last,
      60_000,
    );
  }
}

/** Rows that are not the same on both sides. */
function differences(client: Readonly<Record<string, unknown>>, legacy: Readonly<Record<string, unknown>>): unknown[] {
  const ids = new Set([...Object.keys(client), ...Object.keys(legacy)]);
  return [...ids].filter((id) => !equal(client[id], legacy[id])).map((id) => ({ client: client[id], legacy: legacy[id] }));
}

async function holds(process: Crossfade): Promise<boolean> {
  return await process.ready().then(
    ({ role }) => role === "holder",
    () => false,
  );
}
