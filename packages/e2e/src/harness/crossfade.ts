import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Child } from "./child.js";
import { configToml, type ConfigParts } from "./config.js";
import type { FlagProvider, Stage } from "./flags.js";
import type { Issuer } from "./issuer.js";
import { waitFor } from "./wait.js";

const BUILT_BINARY = fileURLToPath(new URL("../../../../target/debug/crossfade", import.meta.url));
const ADMIN_TOKEN = "crossfade-e2e-admin-token";

export interface ResourceStage {
  readonly resource: string;
  readonly requested: string;
  readonly effective: string;
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
  #addresses: Addresses;

  private constructor(options: CrossfadeOptions, configPath: string, child: Child, addresses: Addresses) {
    this.#options = options;
    this.#configPath = configPath;
    this.#child = child;
    this.#addresses = addresses;
  }

  static async start(options: CrossfadeOptions): Promise<Crossfade> {
    const configPath = join(options.directory, "crossfade.toml");
    const jwtKeyFile = join(options.directory, "clerk.pem");
    await writeFile(jwtKeyFile, options.issuer.publicPem);
    const parts = { ...options, jwtKeyFile, flagsToml: options.flags.configToml, listenPort: 0, adminPort: 0 };
    await writeFile(configPath, configToml(parts));
    const { child, addresses } = await serve(options, configPath);
    // From now on the configuration names the ports that clients know.
    await writeFile(configPath, configToml(withPorts(parts, addresses)));
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

  /** Serves again on the same ports and the same database. */
  async restart(): Promise<void> {
    const { child, addresses } = await serve(this.#options, this.#configPath);
    this.#child = child;
    this.#addresses = addresses;
  }

  log(): string {
    return this.#child.log();
  }

  /** Runs another command of the binary with the same configuration; fails unless it exits 0. */
  async run(command: string, ...args: string[]): Promise<string> {
    const child = new Child(commandLine(this.#options, command, ["-c", this.#configPath, ...args]));
    const code = await child.exited();
    if (code !== 0) throw new Error(`crossfade ${command} exited ${code}:\n${child.stdout()}\n${child.log()}`);
    return child.stdout();
  }

  async stages(): Promise<readonly ResourceStage[]> {
    return (await this.#admin<{ resources: ResourceStage[] }>("/stages")).resources;
  }

  async outbox(): Promise<Outbox> {
    return await this.#admin<Outbox>("/outbox");
  }

  async comparisons(): Promise<Comparisons> {
    return await this.#admin<Comparisons>("/comparisons");
  }

  /** Asks the flag provider for a stage and waits until crossfade says that it holds. */
  async moveTo(stage: Stage): Promise<void> {
    await this.#options.flags.set({ stage });
    let last: unknown;
    await waitFor(
      `users to be in stage ${stage}`,
      async () => {
        last = await this.stages();
        return (last as ResourceStage[]).some(({ resource, effective }) => resource === "users" && effective === stage);
      },
      () => last,
    );
  }

  async #admin<T>(path: string): Promise<T> {
    const response = await fetch(`${this.adminUrl}${path}`, { headers: { authorization: `Bearer ${ADMIN_TOKEN}` } });
    const text = await response.text();
    if (!response.ok) throw new Error(`admin ${path}: ${response.status} ${text}`);
    return JSON.parse(text) as T;
  }
}

async function serve(options: CrossfadeOptions, configPath: string): Promise<{ child: Child; addresses: Addresses }> {
  const child = new Child(commandLine(options, "serve", ["-c", configPath, "--format", "json"]));
  return { child, addresses: await child.ready<Addresses & { ready: true }>() };
}

function commandLine(options: CrossfadeOptions, command: string, args: readonly string[]) {
  const binary = process.env.CROSSFADE_BIN ?? BUILT_BINARY;
  if (!existsSync(binary)) {
    throw new Error(`no crossfade binary at ${binary}: run \`cargo build\`, or set CROSSFADE_BIN to one`);
  }
  return {
    name: `crossfade ${command}`,
    command: binary,
    args: [command, ...args],
    cwd: options.directory,
    env: {
      ...options.flags.env,
      CROSSFADE_ADMIN_TOKEN: ADMIN_TOKEN,
      CROSSFADE_SERVICE_TOKEN: options.serviceToken,
      RUST_LOG: process.env.RUST_LOG ?? "info",
      RUST_BACKTRACE: "1",
      // Otherwise each failed flag poll logs a backtrace.
      RUST_LIB_BACKTRACE: "0",
    },
  };
}

function withPorts(parts: ConfigParts, { listen, admin }: Addresses): ConfigParts {
  const port = (address: string) => Number(address.slice(address.lastIndexOf(":") + 1));
  return { ...parts, listenPort: port(listen), adminPort: port(admin) };
}
