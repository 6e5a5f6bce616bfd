import { createRequire } from "node:module";
import { join } from "node:path";
import { Child } from "./child.js";
import { freePort } from "./ports.js";
import { waitFor } from "./wait.js";

/** A real libSQL server, as Turso runs it. */
export class Sqld {
  readonly #start: () => Child;
  readonly url: string;
  #child: Child;

  private constructor(url: string, start: () => Child) {
    this.url = url;
    this.#start = start;
    this.#child = start();
  }

  static async start(directory: string): Promise<Sqld> {
    const port = await freePort();
    const args = ["-d", join(directory, "data.sqld"), "--http-listen-addr", `127.0.0.1:${port}`, "--no-welcome"];
    const sqld = new Sqld(`http://127.0.0.1:${port}`, () => new Child({ name: "sqld", command: binary(), args, cwd: directory }));
    await sqld.#untilUp();
    return sqld;
  }

  async restart(): Promise<void> {
    this.#child = this.#start();
    await this.#untilUp();
  }

  async kill(): Promise<void> {
    await this.#child.stop("SIGKILL");
  }

  async stop(): Promise<void> {
    await this.#child.stop();
  }

  async #untilUp(): Promise<void> {
    await waitFor("sqld to answer", async () => (await fetch(`${this.url}/health`).catch(() => undefined))?.ok === true);
  }
}

/** The server comes as an npm package for each platform. */
function binary(): string {
  const own = createRequire(import.meta.url);
  const server = createRequire(own.resolve("sqld/package.json"));
  return server.resolve(`@sqld/${process.platform}-${process.arch}/sqld`);
}
