import { randomBytes } from "node:crypto";
import type { TestContext } from "node:test";
import { Disposer, tempDirectory } from "./cleanup.js";
import { Crossfade, type CrossfadeOptions, type Ports } from "./crossfade.js";
import { equal } from "./equal.js";
import { FlagsFile, type FlagProvider } from "./flags.js";
import { Issuer, type Person } from "./issuer.js";
import { LegacyApi, type NewUser } from "./legacy-api.js";
import { freePort } from "./ports.js";
import type { Relay } from "./relay.js";
import { RestClient } from "./rest-client.js";
import { openSocket, syncToken, type OpeningSocket } from "./sync-session.js";
import { SyncClient, type SyncClientOptions } from "./sync-client.js";
import { waitFor } from "./wait.js";

/** People of two organisations; those of the first work side by side. */
export const ADA: Person = { userId: "user_ada", orgId: "org_1", role: "admin" };
export const BOB: Person = { userId: "user_bob", orgId: "org_1", role: "member" };
/** Reads what the others write. */
export const VIEWER: Person = { userId: "user_viewer", orgId: "org_1", role: "viewer" };
export const EVE: Person = { userId: "user_eve", orgId: "org_2", role: "admin" };

/** What the legacy API holds before crossfade comes. */
export const SEED: readonly NewUser[] = [
  { id: "u1", email: "ada@example.test", name: "Ada", role: "admin", age: 36 },
  { id: "u2", email: "bob@example.test", name: "bob", role: "member", age: null },
  { id: "u3", email: "cleo@example.test", name: "Cleo", role: "viewer", age: 20, active: false },
  { id: "u4", email: "zoe@example.test", name: "Zoë", role: "member", age: 36 },
];

/** Everything that runs during one test, and what it takes to reach it. */
export class World {
  /** Where databases and configuration are. */
  readonly directory: string;
  readonly issuer: Issuer;
  readonly legacy: LegacyApi;
  readonly flags: FlagProvider;
  readonly crossfade: Crossfade;
  /** Other processes on the same database. */
  readonly followers: readonly Crossfade[];
  readonly #cleanup: Disposer;

  private constructor(parts: {
    directory: string;
    issuer: Issuer;
    legacy: LegacyApi;
    flags: FlagProvider;
    crossfade: Crossfade;
    followers: readonly Crossfade[];
    cleanup: Disposer;
  }) {
    this.directory = parts.directory;
    this.issuer = parts.issuer;
    this.legacy = parts.legacy;
    this.flags = parts.flags;
    this.crossfade = parts.crossfade;
    this.followers = parts.followers;
    this.#cleanup = parts.cleanup;
  }

  static async start(
    cleanup: Disposer,
    { flags: startFlags, seed = SEED, responseTimeoutMs, relay: startRelay, config, processes, legacyMakesIds }: WorldOptions,
  ): Promise<World> {
    const directory = tempDirectory("world");
    cleanup.add(() => directory.remove());
    const issuer = new Issuer();
    const serviceToken = randomBytes(24).toString("base64url");
    const legacy = await LegacyApi.start({ directory: directory.path, issuer, serviceToken, makesIds: legacyMakesIds });
    cleanup.add(() => legacy.stop());
    const asNew = ({ id, ...user }: NewUser) => (legacyMakesIds === true || id === undefined ? user : { id, ...user });
    for (const user of seed) await legacy.create(ADA, asNew(user));
    await legacy.create(EVE, asNew({ id: "x1", email: "eve@example.test", name: "Eve" }));
    const flags = await (startFlags ?? FlagsFile.create)(directory.path);
    cleanup.add(() => flags.stop());
    const relay = await startRelay?.(() => legacy.url);
    if (relay !== undefined) cleanup.add(() => relay.stop());
    const options = {
      directory: directory.path,
      legacyUrl: relay?.url ?? legacy.url,
      issuer,
      serviceToken,
      flags,
      responseTimeoutMs,
      config,
    };
    const started = processes === undefined ? [await Crossfade.start(options)] : await startCluster(options, processes);
    for (const one of started) cleanup.add(() => one.stop());
    const [crossfade, ...followers] = started as [Crossfade, ...Crossfade[]];
    return new World({ directory: directory.path, issuer, legacy, flags, crossfade, followers, cleanup });
  }

  /** A React Query client through crossfade. */
  restClient(person: Person, through: Crossfade = this.crossfade): RestClient {
    const client = new RestClient({ baseUrl: () => through.url, issuer: this.issuer, person });
    this.#cleanup.add(() => client.close());
    return client;
  }

  /** A TinyBase client through crossfade, connected. */
  async syncClient(
    person: Person,
    more: Pick<SyncClientOptions, "onSend"> = {},
    through: () => Crossfade = () => this.crossfade,
  ): Promise<SyncClient> {
    const client = new SyncClient({ open: () => this.openSync(person, through()), ...more });
    this.#cleanup.add(() => client.disconnect());
    await client.connect();
    return client;
  }

  /** A socket to the path of the person's organisation, with a fresh sync token. */
  async openSync(person: Person, through: Crossfade = this.crossfade): Promise<OpeningSocket> {
    const { token, paths } = await syncToken(through.url, this.issuer, person);
    return openSocket(`${through.syncUrl}/${paths[0]}`, token);
  }

  /** Something to undo before the servers stop. */
  onEnd(undo: () => Promise<void> | void): void {
    this.#cleanup.add(undo);
  }

  /** Waits until nothing is owed, and these clients of one organisation hold exactly legacy's rows. */
  async untilSettled(clients: readonly SyncClient[], person: Person = ADA): Promise<void> {
    let last: unknown;
    await waitFor(
      "legacy and the clients to agree",
      async () => {
        const { pending } = await this.crossfade.outbox();
        const rows = await this.legacy.rows(person);
        last = { pending, rows, clients: clients.map((client) => client.users()) };
        return pending === 0 && clients.every((client) => equal(client.users(), rows));
      },
      () => last,
    );
  }

  /** The way from a fresh installation to a store that holds what legacy holds. */
  async fillStore(): Promise<void> {
    await this.crossfade.moveTo("dualwrite");
    await this.crossfade.run("backfill", "--format", "json");
  }
}

/** Processes on one database, one after the other: the first one holds it. */
async function startCluster(options: CrossfadeOptions, processes: number): Promise<Crossfade[]> {
  const ports: Ports[] = [];
  for (let n = 0; n < processes; n += 1) ports.push({ listen: await freePort(), admin: await freePort() });
  const peers = JSON.stringify(ports.map(({ admin }) => `http://127.0.0.1:${admin}`));
  const started: Crossfade[] = [];
  for (const [n, own] of ports.entries()) {
    const cluster = `\n[cluster]\nadvertise = "http://127.0.0.1:${own.listen}"\npeers = ${peers}\n`;
    const config = (toml: string) => (options.config ?? ((same: string) => same))(toml).replace("\n[interlocks]", `${cluster}\n[interlocks]`);
    started.push(await Crossfade.start({ ...options, ports: own, name: `crossfade-${n + 1}`, config }));
  }
  return started;
}

export interface WorldOptions {
  /** How many processes on one database; each is told of the others. */
  readonly processes?: number;
  readonly flags?: (directory: string) => Promise<FlagProvider>;
  readonly seed?: readonly NewUser[];
  /** The legacy API chooses the ids of rows. */
  readonly legacyMakesIds?: boolean;
  /** `[legacy] response_timeout_ms`. */
  readonly responseTimeoutMs?: number;
  /** Changes crossfade's configuration. */
  readonly config?: (toml: string) => string;
  /** Puts something between crossfade and the legacy API, whose URL it is given. */
  readonly relay?: (target: () => string) => Promise<Relay>;
}

/** Builds a world, runs `body` in it, takes it down; a failure comes with the servers' last words. */
export async function withWorld(options: WorldOptions, body: (world: World) => Promise<void>): Promise<void> {
  const cleanup = new Disposer();
  try {
    const world = await World.start(cleanup, options);
    try {
      await body(world);
    } catch (error) {
      for (const one of world.followers) console.error(`--- another crossfade\n${one.logs()}`);
      console.error(`--- crossfade\n${world.crossfade.logs()}\n--- legacy-api\n${world.legacy.log()}`);
      throw error;
    }
  } finally {
    await cleanup.dispose();
  }
}

/** One named step of a longer story. When it fails, the story ends there: later steps build on it. */
export async function step(t: TestContext, name: string, body: () => Promise<void>): Promise<void> {
  let failure: { readonly error: unknown } | undefined;
  await t.test(name, async () => {
    try {
      await body();
    } catch (error) {
      failure = { error };
      throw error;
    }
  });
  if (failure !== undefined) throw new Error(`the step "${name}" failed`);
}
