import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Child } from "./child.js";
import type { Issuer, Person } from "./issuer.js";

const PACKAGE = fileURLToPath(new URL("../../../legacy-api/", import.meta.url));
/** `node --import tsx` resolves tsx from the working directory, which is the package's own. */
const COMMAND = [process.execPath, "--import", "tsx", "src/main.ts"] as const;

export interface User {
  readonly id: string;
  readonly orgId: string;
  readonly email: string;
  readonly name: string;
  readonly role: "admin" | "member" | "viewer";
  readonly age: number | null;
  readonly active: boolean;
  readonly createdAt: string;
  readonly updatedAt: string;
  readonly version: number;
}
export type NewUser = Partial<User> & Pick<User, "email" | "name">;

export interface UserPage {
  readonly data: User[];
  readonly total: number;
  readonly limit: number;
  readonly offset: number;
}

export interface Faults {
  readonly wrongField?: { readonly field: string; readonly value: unknown } | null;
  readonly hideRows?: { readonly from: string; readonly ids: readonly string[] } | null;
  readonly delayMs?: number;
  readonly status?: 503 | null;
}

export interface LegacyApiOptions {
  readonly directory: string;
  readonly issuer: Issuer;
  readonly serviceToken: string;
  /** A create that brings an id is refused. */
  readonly makesIds?: boolean | undefined;
}

/** The legacy API in a process of its own; it can be killed and started again on its port and database. */
export class LegacyApi {
  readonly #options: LegacyApiOptions;
  #child: Child;
  #port: number;

  private constructor(options: LegacyApiOptions, child: Child, port: number) {
    this.#options = options;
    this.#child = child;
    this.#port = port;
  }

  static async start(options: LegacyApiOptions): Promise<LegacyApi> {
    const { child, port } = await launch(options, 0);
    return new LegacyApi(options, child, port);
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async stop(): Promise<void> {
    await this.#child.stop();
  }

  async kill(): Promise<void> {
    await this.#child.kill();
  }

  /** Starts it again where it was: same port, same database. */
  async restart(): Promise<void> {
    ({ child: this.#child, port: this.#port } = await launch(this.#options, this.#port));
  }

  log(): string {
    return this.#child.log();
  }

  /** Asks the API itself, past crossfade. */
  async fetch(person: Person, path: string, init: RequestInit = {}): Promise<Response> {
    const token = await this.#options.issuer.session(person);
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    return await fetch(`${this.url}${path}`, { ...init, headers });
  }

  async create(person: Person, user: NewUser): Promise<User> {
    const response = await this.fetch(person, "/users", { method: "POST", body: JSON.stringify(user) });
    if (response.status !== 201) throw new Error(`create ${user.id}: ${response.status} ${await response.text()}`);
    return (await response.json()) as User;
  }

  /** The row as the API's database has it now; undefined when there is none. */
  async row(person: Person, id: string): Promise<User | undefined> {
    const response = await this.fetch(person, `/users/${encodeURIComponent(id)}`);
    if (response.status === 404) return undefined;
    if (!response.ok) throw new Error(`get ${id}: ${response.status} ${await response.text()}`);
    return (await response.json()) as User;
  }

  /** Every row that the person sees, by id. */
  async rows(person: Person): Promise<Record<string, User>> {
    const rows: Record<string, User> = {};
    for (let offset = 0; ; offset += 100) {
      const response = await this.fetch(person, `/users?limit=100&offset=${offset}`);
      const page = (await response.json()) as UserPage;
      for (const user of page.data) rows[user.id] = user;
      if (page.data.length < 100) return rows;
    }
  }

  async setFaults(faults: Faults): Promise<void> {
    const response = await fetch(`${this.url}/__faults`, { method: "PUT", body: JSON.stringify(faults) });
    if (!response.ok) throw new Error(`faults: ${response.status} ${await response.text()}`);
  }

  /** Requests under /users so far, by their `Crossfade-Purpose` ("none" for those without). */
  async requestsByPurpose(): Promise<Record<string, number>> {
    const response = await fetch(`${this.url}/__stats`);
    return ((await response.json()) as { requests: Record<string, number> }).requests;
  }
}

async function launch(options: LegacyApiOptions, port: number): Promise<{ child: Child; port: number }> {
  const [command, ...args] = COMMAND;
  const child = new Child({
    name: "legacy-api",
    command,
    args,
    cwd: PACKAGE,
    env: {
      PORT: String(port),
      DATABASE_URL: `file:${join(options.directory, "legacy.db")}`,
      CLERK_JWT_KEY: options.issuer.publicPem,
      CROSSFADE_SERVICE_TOKEN: options.serviceToken,
      LEGACY_API_FAULTS: "1",
      LEGACY_API_MAKES_IDS: options.makesIds === true ? "1" : "0",
    },
  });
  const ready = await child.ready<{ ready: true; port: number }>();
  return { child, port: ready.port };
}
