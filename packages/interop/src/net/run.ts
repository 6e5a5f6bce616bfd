/** Runs a schedule with a network: TinyBase's clients here, the server and the native clients in the driver. */

import { START } from '../store/generate.js';
import { Counts } from '../counts.js';
import type { Driver } from '../driver.js';
import type { Disagreement } from '../schedule.js';
import { TinyBaseClient } from './client.js';
import { apart, type Held, holdings } from './content.js';
import { type Action, addresses, type ClientSetup, type NetSchedule, type NetStep, PATHS, pathsOf } from './schedule.js';
import { FakeTime, quiet } from './time.js';

/** How many rounds of delivering everything there may be until nobody has anything to say. */
const MAX_ROUNDS = 2_000;

/** How often everybody may have to connect again until all hold the same, where TinyBase's own protocol leaves that open. */
const MAX_EXCHANGES = 3;

interface Answer {
  down: [key: string, frame: string][];
  closed: [key: string, code: number, reason: string][];
  pending: number;
  deadline: number | null;
}

/** Runs it; how the stores differ in the end, if they do. */
export const runNet = async (
  driver: Driver,
  schedule: NetSchedule,
  counts = new Counts(),
): Promise<Disagreement | undefined> => {
  const time = new FakeTime(START);
  try {
    return await new Net(driver, schedule, time, counts).run();
  } finally {
    time.end();
  }
};

class Net {
  /** By their place in the schedule. */
  readonly #clients: (TinyBaseClient | number)[];
  readonly #tinybase: TinyBaseClient[];
  #actions: Action[] = [];
  #pending = 0;
  #deadline: number | null = null;
  /** Connections that are gone without the server knowing. */
  #unnoticed: string[] = [];
  readonly #online = new Set<number>();
  readonly #was = new Set<number>();
  /** TinyBase's own protocol does not promise that all hold the same after this. */
  #excused: boolean;
  /** Answers may have come too late. */
  #slow = false;
  #refusal: string | undefined;

  constructor(
    readonly driver: Driver,
    readonly schedule: NetSchedule,
    readonly time: FakeTime,
    readonly counts: Counts,
  ) {
    let natives = 0;
    this.#clients = schedule.clients.map((setup, at) =>
      setup.host === 'tinybase' ? new TinyBaseClient(at, setup, time) : natives++,
    );
    this.#tinybase = this.#clients.filter((client) => client instanceof TinyBaseClient);
    this.#excused = schedule.server.topology === 'peer';
  }

  async run(): Promise<Disagreement | undefined> {
    const { server, seed, clients } = this.schedule;
    const natives = clients
      .filter(({ host }) => host === 'rust')
      .map((setup) => ({ ...setup, ...addresses(setup) }));
    await this.driver.call({ net: { open: { server, seed, natives } } });
    this.#countSetup();
    for (const [at, step] of this.schedule.steps.entries()) {
      await this.#step(step);
      if (this.#refusal) return { step: at, what: 'a frame was refused', tinybase: null, rust: this.#refusal };
    }
    return this.#converge();
  }

  /** Everybody comes back; once nobody has anything to say, all hold the same. */
  async #converge(): Promise<Disagreement | undefined> {
    this.#notice();
    for (const at of this.#clients.keys()) if (!this.#online.has(at)) this.#connect(at);
    let difference = await this.#settledDifference();
    for (let exchange = 0; difference && this.#excused && exchange < MAX_EXCHANGES; exchange++) {
      this.counts.add('net: everybody connected again to catch up');
      for (const at of this.#clients.keys()) {
        this.#connect(at);
        const failed = await this.#settle();
        if (failed) return failed;
      }
      difference = await this.#settledDifference();
    }
    return difference;
  }

  async #settledDifference(): Promise<Disagreement | undefined> {
    const failed = await this.#settle();
    if (failed) return failed;
    const state = (await this.driver.call({ net: { state: true } })) as Parameters<typeof holdings>[2];
    const difference = apart(holdings(this.schedule.clients, this.#clients, state));
    const errors = this.#tinybase.flatMap((client) => client.errors.filter((error) => !isExpected(error)));
    if (errors.length > 0) return this.#end('TinyBase reports an error', errors, null);
    return difference && this.#end(`the stores of path ${difference.path} differ`, difference.one, difference.two);
  }

  #end(what: string, tinybase: Held | string[] | null, rust: Held | string | null): Disagreement {
    return { step: this.schedule.steps.length - 1, what, tinybase, rust };
  }

  async #step(step: NetStep): Promise<void> {
    if ('connect' in step) this.#connect(step.connect);
    else if ('cut' in step) this.#cut(step.cut, step.late);
    else if ('reopen' in step) this.#reopen(step.reopen);
    else if ('edit' in step) this.#edit(step);
    else if ('write' in step) {
      this.#actions.push(['write', PATHS[step.write] ?? '', step.ops]);
      this.counts.add('net: server wrote');
    } else if ('move' in step) this.#move(step.move);
    else if ('skew' in step) this.#skew(step.skew, step.skewMs);
    else await this.#wait(step.waitMs);
    await quiet();
    await this.#flush();
  }

  #client(at: number): TinyBaseClient | number {
    const client = this.#clients[at];
    if (client === undefined) throw new Error(`there is no client ${at}`);
    return client;
  }

  #setup(at: number): ClientSetup {
    const setup = this.schedule.clients[at];
    if (!setup) throw new Error(`there is no client ${at}`);
    return setup;
  }

  #connect(at: number): void {
    this.#cut(at, false);
    const client = this.#client(at);
    if (this.#was.has(at)) this.counts.add('net: reconnected');
    if (client instanceof TinyBaseClient) this.#opened(client, client.connect());
    else this.#actions.push(['connect', client]);
    this.#online.add(at);
    this.#was.add(at);
  }

  #opened(client: TinyBaseClient, key: string): void {
    this.#actions.push(['open', key, addresses(client.setup).path, client.setup.multiplexed]);
  }

  #cut(at: number, late: boolean): void {
    const client = this.#client(at);
    if (!this.#online.delete(at)) {
      if (client instanceof TinyBaseClient) client.cut();
      return;
    }
    this.counts.add('net: cut');
    if (!(client instanceof TinyBaseClient)) return void this.#actions.push(['cut', client]);
    if ((client.socket?.up.length ?? 0) + client.down.length > 0) this.counts.add('net: frames lost by a cut');
    const key = client.key;
    // Cut for now; whether for good is seen when it comes back.
    client.drop();
    if (key === undefined) return;
    if (late) {
      this.#unnoticed.push(key);
      this.counts.add('net: cut noticed late');
    } else this.#actions.push(['close', key]);
  }

  /** The server learns who is gone. */
  #notice(): void {
    this.#actions.push(...this.#unnoticed.splice(0).map((key): Action => ['close', key]));
  }

  #reopen(at: number): void {
    const client = this.#client(at);
    if (!(client instanceof TinyBaseClient) || this.#online.has(at)) return;
    const key = client.reopen();
    if (key === undefined) return;
    this.counts.add('net: socket opened again');
    this.#excused = true;
    this.#opened(client, key);
    this.#online.add(at);
  }

  #edit(step: Extract<NetStep, { edit: number }>): void {
    const { edit: at, path, ops, rollBack } = step;
    const setup = this.#setup(at);
    const place = setup.paths.indexOf(path);
    const channel = setup.multiplexed ? (addresses(setup).channels[place] ?? '') : '';
    this.counts.add(this.#online.has(at) ? 'net: edit online' : 'net: edit offline');
    if (rollBack) this.counts.add('net: transaction rolled back');
    const client = this.#client(at);
    if (!(client instanceof TinyBaseClient)) return void this.#actions.push(['edit', client, channel, ops, rollBack]);
    if (client.isLoading(channel)) this.counts.add('net: edit while loading');
    client.edit(channel, ops, rollBack);
  }

  #move(moves: Extract<NetStep, { move: unknown }>['move']): void {
    for (const [at, direction, frames] of moves) {
      const client = this.#client(at);
      if (!(client instanceof TinyBaseClient)) this.#actions.push([direction, client, frames]);
      else if (direction === 'up') this.#up(client, frames);
      else this.#down(client, frames);
    }
  }

  #up(client: TinyBaseClient, frames: number): number {
    const moved = client.socket?.up.splice(0, frames) ?? [];
    const { key } = client;
    if (key === undefined) return 0;
    for (const frame of moved) {
      if (FRAGMENT.test(frame)) this.counts.add('net: fragment from TinyBase');
      this.#actions.push(['frame', key, frame]);
    }
    return moved.length;
  }

  #down(client: TinyBaseClient, frames: number): number {
    const moved = client.down.splice(0, frames);
    for (const frame of moved) {
      if (FRAGMENT.test(frame)) this.counts.add('net: fragment to TinyBase');
      client.socket?.deliver(frame);
    }
    return moved.length;
  }

  #skew(at: number, skewMs: number): void {
    const client = this.#client(at);
    if (!(client instanceof TinyBaseClient)) return;
    client.skewMs = skewMs;
    this.counts.add('net: clock set anew');
  }

  async #wait(waitMs: number): Promise<void> {
    if (this.#isBusy() && waitMs >= 400) {
      this.counts.add('net: time passed with frames under way');
      this.#slow = true;
      this.#excused = true;
    }
    this.time.passTo(this.time.now + waitMs);
    await quiet();
    this.#actions.push(['tick']);
  }

  #isBusy(): boolean {
    const waiting = this.#tinybase.some(({ socket, down }) => (socket?.up.length ?? 0) + down.length > 0);
    return waiting || this.#pending > 0 || this.#deadline !== null || this.time.next !== undefined;
  }

  /** Lets the driver act, and takes what comes back. */
  async #flush(): Promise<void> {
    if (this.#actions.length === 0) return;
    const actions = this.#actions.splice(0);
    const answer = (await this.driver.call({ net: { now: this.time.now, actions } })) as Answer;
    this.#pending = answer.pending;
    this.#deadline = answer.deadline;
    for (const [key, frame] of answer.down) this.#tinybase.find((client) => client.key === key)?.down.push(frame);
    const [closed] = answer.closed;
    if (closed) this.#refusal = closed.join(' ');
    for (const client of this.#tinybase) this.#checkClosed(client);
  }

  /**
   * TinyBase closes a connection that brings frames for a channel it has given up, which happens when the server's confirmation
   * came too late. Any other reason is a failure.
   */
  #checkClosed(client: TinyBaseClient): void {
    const { closedBy } = client.socket ?? {};
    if (!closedBy || ![1007, 1013].includes(closedBy.code) || !this.#online.has(client.number)) return;
    if (!this.#slow) {
      this.#refusal = `TinyBase closed with ${closedBy.code} ${closedBy.reason}`;
      return;
    }
    this.counts.add('net: TinyBase closed by itself after a late answer');
    if (client.key !== undefined) this.#actions.push(['close', client.key]);
    client.cut();
    this.#online.delete(client.number);
  }

  /** Delivers everything, and lets time pass to what is due, until nobody has anything to say. */
  async #settle(): Promise<Disagreement | undefined> {
    for (let round = 0; round < MAX_ROUNDS; round++) {
      await quiet();
      await this.#flush();
      if (this.#refusal) return this.#end('a frame was refused', null, this.#refusal);
      let moved = 0;
      for (const client of this.#tinybase) moved += this.#down(client, Infinity);
      await quiet();
      for (const client of this.#tinybase) moved += this.#up(client, Infinity);
      if (this.#pending > 0) this.#moveNatives();
      if (moved > 0 || this.#actions.length > 0) continue;
      const due = [this.time.next, this.#deadline].filter((at) => typeof at === 'number');
      if (due.length === 0) return undefined;
      this.time.passTo(Math.min(...due));
      this.#actions.push(['tick']);
    }
    return this.#end('the talk does not end', null, null);
  }

  #moveNatives(): void {
    for (const client of this.#clients) {
      if (client instanceof TinyBaseClient) continue;
      this.#actions.push(['up', client, 1_000_000], ['down', client, 1_000_000]);
    }
  }

  #countSetup(): void {
    const { server, clients } = this.schedule;
    const modes = new Set(clients.map(({ multiplexed }) => (multiplexed ? 'multiplexed' : 'single-store')));
    const mode = modes.size > 1 ? 'mixed' : [...modes][0];
    const fragments = [server, ...clients].some(({ fragmentBytes }) => fragmentBytes > 0) ? 'on' : 'off';
    const topology = server.topology === 'star' ? 'star' : server.stored ? 'peer' : 'peer without store';
    this.counts.add(`net schedules: ${topology}, ${mode}, fragments ${fragments}`);
    if ([server, ...clients].some(({ skewMs }) => skewMs !== 0)) this.counts.add('net: clocks skewed');
    if (clients.some(({ host }) => host === 'rust')) this.counts.add('net: with native clients');
    if (clients.some((setup) => pathsOf(setup).length > 1)) this.counts.add('net: several channels on a socket');
  }
}

const FRAGMENT = /\n[-0-9A-Z_a-z]{16}\n\d+\n\d+\n/;

/** Answers that did not come in time, and connections that went away. */
const isExpected = (error: string): boolean => /^Error: tinybase:(3|4|5|8)\b/.test(error) || error === LATE;

/** See `#checkClosed`, which looks whether it had a reason. */
const LATE = 'Error: tinybase:14';
