import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ADMIN_TOKEN, commandLine } from "./binary.js";
import { Child } from "./child.js";
import { configToml, type ConfigParts } from "./config.js";
import type { FlagProvider, Stage } from "./flags.js";
import type { Issuer } from "./issuer.js";
import { waitFor } from "./wait.js";

export interface ResourceStage {
  readonly resource: string;
  readonly requested: string;
  readonly effective: string;
  readonly because: { readonly reason: string };
  /** Whether its backfill is finished. */
  readonly caught_up: boolean;
  /** Whether the store holds all that legacy has; `mending`: a backfill sees to it by itself. */
  readonly store: "unfinished" | "finished" | { readonly mending: { readonly after_ms: number } };
  /** Writes that legacy was asked to do and that the store may not have yet. */
  readonly writes_under_way: number;
  /** What the next step forward needs. */
  readonly next: { readonly to: string; readonly conditions: readonly Condition[] } | null;
  /** What the comparisons made in this stage say. */
  readonly gate: {
    readonly verdict: "pass" | "fail" | "insufficient";
    readonly tally: { readonly since_ms: number; readonly compared: number; readonly disagreed: number };
    readonly needed: number | null;
  };
}

/** A condition of a step forward, and how it stands. */
export interface Condition {
  readonly condition:
    | "backfill"
    | "reconcile"
    | "mismatch-gate"
    | "cohort"
    | "owed-age"
    | "dead-letters"
    | "unique"
    | "generated"
    | "write-permissions";
  readonly met: boolean;
  readonly waived: boolean;
  readonly figure: string;
}

/** How the flag provider is doing. */
export interface FlagsStatus {
  /** Good documents so far. */
  readonly documents: number;
  readonly failures: number;
  /** Until a good document follows. */
  readonly last_error: string | null;
  readonly age_ms: number | null;
}

/** What an event of the log says. */
export type LogEvent = Readonly<Record<string, unknown>> & { readonly message?: string };

/** What `/stages` tells besides the resources' stages. */
export interface StagesView {
  readonly resources: readonly ResourceStage[];
  readonly flags: FlagsStatus;
  /** By scope; `*` is all resources. */
  readonly rollback: Readonly<Record<string, { readonly state: string; readonly reason?: string; readonly actor?: string }>>;
}

/** What a process says of itself. */
export interface Readiness {
  readonly ready: boolean;
  readonly role: "holder" | "follower";
  /** Of a follower: where the process is that holds the database, while it answers. */
  readonly holder?: string | null;
}

/** How a command of the binary ended. */
export interface Ended {
  readonly code: number | NodeJS.Signals;
  readonly stdout: string;
  readonly stderr: string;
}

export interface OutboxEntry {
  readonly seq: number;
  readonly resource: string;
  readonly path: string;
  readonly row: string;
  readonly state: string;
  readonly attempts: number;
  readonly last_error: string | null;
}

export interface Outbox {
  readonly pending: number;
  readonly dead: number;
  readonly entries: readonly OutboxEntry[];
}

export interface Signature {
  readonly signature: string;
  readonly resource: string;
  readonly route: string;
  readonly count: number;
  readonly paths: readonly string[];
  readonly sample_diff: string | null;
}

export interface Comparisons {
  readonly verdicts: Readonly<Record<string, number>>;
  readonly signatures: readonly Signature[];
}

export interface CrossfadeOptions {
  readonly directory: string;
  readonly legacyUrl: string;
  readonly issuer: Issuer;
  readonly serviceToken: string;
  readonly flags: FlagProvider;
  readonly responseTimeoutMs?: number | undefined;
  /** Where it listens; any free ports without it. */
  readonly ports?: Ports | undefined;
  /** Told apart from other processes in the same directory by this. */
  readonly name?: string | undefined;
  /** Changes the configuration before it is used. */
  readonly config?: ((toml: string) => string) | undefined;
}

export interface Ports {
  readonly listen: number;
  readonly admin: number;
}

interface Addresses {
  readonly listen: string;
  readonly admin: string;
}

/** The binary under test: `crossfade serve` with a configuration of its own, and its admin API. */
export class Crossfade {
  readonly #options: CrossfadeOptions;
  readonly #configPath: string;
  #child: Child;
  /** Its processes before the last restart. */
  readonly #before: Child[] = [];
  #addresses: Addresses;

  private constructor(options: CrossfadeOptions, configPath: string, child: Child, addresses: Addresses) {
    this.#options = options;
    this.#configPath = configPath;
    this.#child = child;
    this.#addresses = addresses;
  }

  static async start(options: CrossfadeOptions): Promise<Crossfade> {
    const name = options.name ?? "crossfade";
    const configPath = join(options.directory, `${name}.toml`);
    const jwtKeyFile = join(options.directory, "clerk.pem");
    await writeFile(jwtKeyFile, options.issuer.publicPem);
    const ports = { listenPort: options.ports?.listen ?? 0, adminPort: options.ports?.admin ?? 0 };
    const parts = { ...options, name, jwtKeyFile, flagsToml: options.flags.configToml, ...ports };
    const change = options.config ?? ((toml: string) => toml);
    await writeFile(configPath, change(configToml(parts)));
    const { child, addresses } = await serve(options, configPath);
    // From now on the configuration names the ports that clients know.
    await writeFile(configPath, change(configToml(withPorts(parts, addresses))));
    return new Crossfade(options, configPath, child, addresses);
  }

  get url(): string {
    return `http://${this.#addresses.listen}`;
  }

  get syncUrl(): string {
    return `ws://${this.#addresses.listen}/sync`;
  }

  get adminUrl(): string {
    return `http://${this.#addresses.admin}`;
  }

  async stop(): Promise<void> {
    await this.#child.stop();
  }

  async kill(): Promise<void> {
    await this.#child.kill();
  }

  /** SIGSTOP: its sockets stay open, and nobody answers. */
  pause(): void {
    this.#child.signal("SIGSTOP");
  }

  /** SIGCONT. */
  resume(): void {
    this.#child.signal("SIGCONT");
  }

  /** What `/readyz` says. */
  async ready(): Promise<Readiness> {
    return await this.#admin<Readiness>("/readyz");
  }

  /** Serves again on the same ports and the same database. */
  async restart(): Promise<void> {
    const { child, addresses } = await serve(this.#options, this.#configPath);
    this.#before.push(this.#child);
    this.#child = child;
    this.#addresses = addresses;
  }

  /** What all of its processes said, the earlier ones first. */
  logs(): string {
    return [...this.#before, this.#child].map((child) => child.log()).join("\n--- restarted\n");
  }

  log(): string {
    return this.#child.log();
  }

  /** Runs another command of the binary with the same configuration; fails unless it exits 0. */
  async run(name: string, ...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.tryRun(name, ...args);
    if (code !== 0) throw new Error(`crossfade ${name} exited ${code}:\n${stdout}\n${stderr}`);
    return stdout;
  }

  /** The same, whatever it exits with. */
  async tryRun(name: string, ...args: string[]): Promise<Ended> {
    const child = command(this.#options, name, [...args, "-c", this.#configPath]);
    const code = await child.exited();
    return { code, stdout: child.stdout(), stderr: child.log() };
  }

  /** Starts one with a changed configuration where that must fail; gives how it ended and what it was told. */
  async failToServe(change: (toml: string) => string = (toml) => toml): Promise<Ended & { readonly toml: string }> {
    const toml = change(await readFile(this.#configPath, "utf8"));
    const configPath = join(this.#options.directory, "changed.toml");
    await writeFile(configPath, toml);
    const child = command(this.#options, "serve", ["-c", configPath, "--format", "json"]);
    const served = await child.ready().then(() => true, () => false);
    if (served) {
      await child.kill();
      throw new Error(`crossfade serves, which was not expected:\n${toml}`);
    }
    return { toml, code: await child.exited(), stdout: child.stdout(), stderr: child.log() };
  }

  async stages(): Promise<readonly ResourceStage[]> {
    return (await this.status()).resources;
  }

  async status(): Promise<StagesView> {
    return await this.#admin<StagesView>("/stages");
  }

  /** Waits until users are in this stage. */
  async untilIn(stage: Stage): Promise<void> {
    let last: unknown;
    await waitFor(
      `users to be in stage ${stage}`,
      async () => {
        const stages = await this.stages();
        last = stages;
        return stages.some(({ resource, effective }) => resource === "users" && effective === stage);
      },
      () => last,
    );
  }

  /** Whether it is ready, and how the flags are doing. */
  async readiness(): Promise<{ readonly status: number; readonly ready: boolean; readonly flags: FlagsStatus }> {
    const response = await fetch(`${this.adminUrl}/readyz`);
    const body = (await response.json()) as { ready: boolean; flags: FlagsStatus };
    return { status: response.status, ...body };
  }

  /** What a counter says, labels included in its name as Prometheus writes them; 0 where it is not there yet. */
  async counter(name: string): Promise<number> {
    const lines = (await this.#adminText("/metrics")).split("\n");
    const line = lines.find((text) => text.startsWith(`${name} `));
    return line === undefined ? 0 : Number(line.slice(name.length + 1));
  }

  /** The log's events, one a line. */
  events(): LogEvent[] {
    return this.log().split("\n").flatMap((line) => {
      try {
        return [(JSON.parse(line) as { fields: LogEvent }).fields];
      } catch {
        return [];
      }
    });
  }

  async outbox(): Promise<Outbox> {
    return await this.#admin<Outbox>("/outbox");
  }

  /** Which of these users are in the cohort. */
  async cohort(users: readonly string[], organisation: { org_id?: string; org_role?: string } = {}): Promise<string[]> {
    const question = { resource: "users", users, ...organisation };
    const answer = await this.#admin<{ in_cohort: string[] }>("/cohort", { method: "POST", body: JSON.stringify(question) });
    return answer.in_cohort;
  }

  async comparisons(): Promise<Comparisons> {
    return await this.#admin<Comparisons>("/comparisons");
  }

  /** Asks the flag provider for a stage and waits until crossfade says that it holds. */
  async moveTo(stage: Stage): Promise<void> {
    await this.#options.flags.set({ stage });
    await this.untilIn(stage);
  }

  async #admin<T>(path: string, init: RequestInit = {}): Promise<T> {
    return JSON.parse(await this.#adminText(path, init)) as T;
  }

  async #adminText(path: string, init: RequestInit = {}): Promise<string> {
    const response = await fetch(`${this.adminUrl}${path}`, { ...init, headers: { authorization: `Bearer ${ADMIN_TOKEN}` } });
    const text = await response.text();
    if (!response.ok) throw new Error(`admin ${path}: ${response.status} ${text}`);
    return text;
  }
}

async function serve(options: CrossfadeOptions, configPath: string): Promise<{ child: Child; addresses: Addresses }> {
  const child = command(options, "serve", ["-c", configPath, "--format", "json"]);
  return { child, addresses: await child.ready<Addresses & { ready: true }>() };
}

function command(options: CrossfadeOptions, name: string, args: readonly string[]): Child {
  return new Child(commandLine({ ...options, env: options.flags.env }, name, args));
}

function withPorts(parts: ConfigParts, { listen, admin }: Addresses): ConfigParts {
  const port = (address: string) => Number(address.slice(address.lastIndexOf(":") + 1));
  return { ...parts, listenPort: port(listen), adminPort: port(admin) };
}
