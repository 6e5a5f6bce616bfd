import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { Child } from "./child.js";
import { Disposer, tempDirectory } from "./cleanup.js";
import {
  FLAG,
  gradualRollout,
  INITIAL_FLAGS,
  stageVariants,
  type FlagProvider,
  type FlagState,
} from "./flags.js";
import { freePort } from "./ports.js";
import { PostgresCluster } from "./postgres.js";
import { waitFor } from "./wait.js";

const ADMIN_TOKEN = "*:*.crossfade-e2e-admin-token";
const BACKEND_TOKEN = "default:development.crossfade-e2e-backend-token";
const ENVIRONMENT = "development";
const DATABASE = "unleash";
/** The first start on an empty database runs every migration; that takes a while on a busy machine. */
const START_DEADLINE_MS = 120_000;

/** A real Unleash server on a real PostgreSQL; flags are changed through its admin API, as its UI does. */
export class UnleashFlags implements FlagProvider {
  readonly configToml: string;
  readonly env = { UNLEASH_TOKEN: BACKEND_TOKEN };
  readonly #url: string;
  readonly #server: Child;
  readonly #cleanup: Disposer;
  #strategyIds = new Map<string, string>();

  private constructor(url: string, server: Child, cleanup: Disposer) {
    this.#url = url;
    this.#server = server;
    this.#cleanup = cleanup;
    this.configToml = [
      "[flags.unleash]",
      `url = "${url}/api"`,
      'token = "env:UNLEASH_TOKEN"',
      'app_name = "crossfade-e2e"',
      `environment = "${ENVIRONMENT}"`,
      "poll_ms = 200",
      "",
    ].join("\n");
  }

  static async start(): Promise<UnleashFlags> {
    const cleanup = new Disposer();
    try {
      const postgres = await PostgresCluster.start(DATABASE);
      cleanup.add(() => postgres.stop());
      const home = tempDirectory("unleash");
      cleanup.add(() => home.remove());
      const port = await freePort();
      const url = `http://127.0.0.1:${port}`;
      const server = startServer(port, url, postgres, home.path);
      cleanup.add(() => server.stop());
      await waitFor(
        "Unleash to be healthy",
        async () => {
          if (!server.running) return true;
          return (await fetch(`${url}/health`)).ok;
        },
        () => server.log(),
        START_DEADLINE_MS,
      );
      if (!server.running) throw new Error(`Unleash ended before it was ready:\n${server.log()}`);
      const flags = new UnleashFlags(url, server, cleanup);
      await flags.#createFlags(INITIAL_FLAGS);
      return flags;
    } catch (error) {
      await cleanup.dispose();
      throw error;
    }
  }

  async set({ enabled, stage, cohortPercent, shadowPercent }: Partial<FlagState>): Promise<void> {
    if (enabled !== undefined) await this.#switch(FLAG.enabled, enabled);
    if (stage !== undefined) {
      await this.#putStrategy(FLAG.stage, {
        ...gradualRollout(FLAG.stage, 100, "default"),
        variants: stageVariants(stage),
      });
    }
    if (cohortPercent !== undefined) {
      await this.#putStrategy(FLAG.cohort, gradualRollout(FLAG.cohort, cohortPercent, "userId"));
    }
    if (shadowPercent !== undefined) {
      await this.#putStrategy(FLAG.shadow, gradualRollout(FLAG.shadow, shadowPercent, "random"));
    }
  }

  /** Where clients get their toggles, and what they show for it. */
  get clients(): { readonly url: string; readonly token: string } {
    return { url: `${this.#url}/api`, token: BACKEND_TOKEN };
  }

  async stop(): Promise<void> {
    await this.#cleanup.dispose();
  }

  log(): string {
    return this.#server.log();
  }

  async #createFlags(state: FlagState): Promise<void> {
    await this.#create(FLAG.enabled, "kill-switch", gradualRollout(FLAG.enabled, 100, "default"));
    await this.#create(FLAG.stage, "release", {
      ...gradualRollout(FLAG.stage, 100, "default"),
      variants: stageVariants(state.stage),
    });
    await this.#create(FLAG.cohort, "release", gradualRollout(FLAG.cohort, state.cohortPercent, "userId"));
    await this.#create(FLAG.shadow, "release", gradualRollout(FLAG.shadow, state.shadowPercent, "random"));
    for (const flag of Object.values(FLAG)) await this.#switch(flag, true);
  }

  async #create(flag: string, type: string, strategy: object): Promise<void> {
    await this.#admin("POST", "", { name: flag, type });
    const created = await this.#admin("POST", `/${flag}/environments/${ENVIRONMENT}/strategies`, strategy);
    this.#strategyIds.set(flag, (created as { id: string }).id);
  }

  async #putStrategy(flag: string, strategy: object): Promise<void> {
    const id = this.#strategyIds.get(flag);
    await this.#admin("PUT", `/${flag}/environments/${ENVIRONMENT}/strategies/${id}`, strategy);
  }

  async #switch(flag: string, on: boolean): Promise<void> {
    await this.#admin("POST", `/${flag}/environments/${ENVIRONMENT}/${on ? "on" : "off"}`);
  }

  async #admin(method: string, path: string, body?: object): Promise<unknown> {
    const response = await fetch(`${this.#url}/api/admin/projects/default/features${path}`, {
      method,
      headers: { authorization: ADMIN_TOKEN, "content-type": "application/json" },
      body: body === undefined ? null : JSON.stringify(body),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`Unleash ${method} ${path}: ${response.status} ${text}`);
    return text === "" ? undefined : JSON.parse(text);
  }
}

function startServer(port: number, url: string, postgres: PostgresCluster, home: string): Child {
  return new Child({
    name: "unleash",
    command: process.execPath,
    args: [serverProgram()],
    cwd: home,
    env: {
      HOME: home,
      NODE_ENV: "production",
      DATABASE_HOST: "127.0.0.1",
      DATABASE_PORT: String(postgres.port),
      DATABASE_NAME: DATABASE,
      DATABASE_USERNAME: postgres.user,
      DATABASE_PASSWORD: postgres.user,
      DATABASE_SSL: "false",
      HTTP_HOST: "127.0.0.1",
      HTTP_PORT: String(port),
      UNLEASH_URL: url,
      // Written only into an empty token table, which a fresh cluster has.
      INIT_ADMIN_API_TOKENS: ADMIN_TOKEN,
      INIT_BACKEND_API_TOKENS: BACKEND_TOKEN,
      CHECK_VERSION: "false",
      SEND_TELEMETRY: "false",
      LOG_LEVEL: "warn",
    },
  });
}

/** The program that the package's own command starts; it lies beside the library's entry. */
function serverProgram(): string {
  return join(dirname(createRequire(import.meta.url).resolve("unleash-server")), "..", "server.js");
}
