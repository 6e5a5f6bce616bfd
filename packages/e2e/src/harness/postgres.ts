import { execFile } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { Child } from "./child.js";
import { Disposer, tempDirectory } from "./cleanup.js";
import { freePort } from "./ports.js";
import { waitFor } from "./wait.js";

const run = promisify(execFile);
/** Where Debian's package `postgresql` puts the server's programs, by major version. */
const DEBIAN_ROOT = "/usr/lib/postgresql";
const SUPERUSER = "unleash";

/** A private PostgreSQL cluster: own directory, own port, no durability, gone when the test ends. */
export class PostgresCluster {
  readonly port: number;
  readonly user = SUPERUSER;
  readonly #server: Child;
  readonly #cleanup: Disposer;

  private constructor(port: number, server: Child, cleanup: Disposer) {
    this.port = port;
    this.#server = server;
    this.#cleanup = cleanup;
  }

  static async start(database: string): Promise<PostgresCluster> {
    const programs = findPrograms();
    const account = await serverAccount();
    const cleanup = new Disposer();
    try {
      const directory = tempDirectory("pg", account);
      cleanup.add(() => directory.remove());
      const data = join(directory.path, "data");
      await run(
        join(programs, "initdb"),
        ["-D", data, "-U", SUPERUSER, "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"],
        { ...account, env: { PATH: process.env.PATH, HOME: directory.path }, cwd: directory.path },
      );
      const port = await freePort();
      const server = startServer(programs, data, directory.path, port, account);
      // SIGINT is PostgreSQL's "fast" shutdown: it does not wait for clients.
      cleanup.add(() => server.stop("SIGINT"));
      await waitFor("PostgreSQL to take connections", async () => {
        if (!server.running) throw new Error(server.log());
        await run(join(programs, "pg_isready"), ["-h", "127.0.0.1", "-p", String(port)]);
        return true;
      });
      const createdb = ["-h", "127.0.0.1", "-p", String(port), "-U", SUPERUSER, database];
      await run(join(programs, "createdb"), createdb);
      return new PostgresCluster(port, server, cleanup);
    } catch (error) {
      await cleanup.dispose();
      throw error;
    }
  }

  async stop(): Promise<void> {
    await this.#cleanup.dispose();
  }

  log(): string {
    return this.#server.log();
  }
}

type Account = { readonly uid: number; readonly gid: number } | undefined;

function startServer(programs: string, data: string, home: string, port: number, account: Account): Child {
  const settings = [
    "listen_addresses=127.0.0.1",
    `unix_socket_directories=${home}`,
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
  ];
  return new Child({
    name: "postgres",
    command: join(programs, "postgres"),
    args: ["-D", data, "-p", String(port), ...settings.flatMap((setting) => ["-c", setting])],
    cwd: home,
    env: { HOME: home },
    ...(account === undefined ? {} : { user: account }),
  });
}

/** The newest version that Debian installed. */
function findPrograms(): string {
  const versions = existsSync(DEBIAN_ROOT) ? readdirSync(DEBIAN_ROOT) : [];
  const programs = versions
    .sort((a, b) => Number(b) - Number(a))
    .map((version) => join(DEBIAN_ROOT, version, "bin"))
    .find((directory) => existsSync(join(directory, "initdb")) && existsSync(join(directory, "postgres")));
  if (programs === undefined) {
    throw new Error(
      `no PostgreSQL server under ${DEBIAN_ROOT}/*/bin: install the Debian package \`postgresql\` (apt-get install postgresql)`,
    );
  }
  return programs;
}

/** PostgreSQL refuses to run as root, so root runs it as Debian's user `postgres`. */
async function serverAccount(): Promise<Account> {
  if (process.getuid?.() !== 0) return undefined;
  const id = async (option: "-u" | "-g") => Number((await run("id", [option, "postgres"])).stdout);
  return { uid: await id("-u"), gid: await id("-g") };
}
