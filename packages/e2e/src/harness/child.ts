import { spawn, type ChildProcessByStdio } from "node:child_process";
import type { Readable } from "node:stream";
import { createInterface } from "node:readline";
import { onExit } from "./cleanup.js";

const KEPT_LINES = Number(process.env.CROSSFADE_KEPT_LINES ?? 200);
/** How long a process may take to end when asked politely, before that counts as a failure. */
const STOP_DEADLINE_MS = 20_000;

export interface ChildOptions {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  readonly user?: { readonly uid: number; readonly gid: number };
}

/** A process that a test started: it is ended by its own handle, never by name. */
export class Child {
  readonly name: string;
  readonly #process: ChildProcessByStdio<null, Readable, Readable>;
  readonly #exited: Promise<number | NodeJS.Signals>;
  readonly #stdout: string[] = [];
  readonly #log: string[] = [];
  #stdoutGrew: () => void = () => {};

  constructor(options: ChildOptions) {
    this.name = options.name;
    this.#process = spawn(options.command, options.args, {
      env: { PATH: process.env.PATH, HOME: process.env.HOME, ...options.env },
      cwd: options.cwd,
      uid: options.user?.uid,
      gid: options.user?.gid,
      stdio: ["ignore", "pipe", "pipe"],
    });
    const forget = onExit(() => this.#process.kill("SIGKILL"));
    this.#exited = new Promise((resolve, reject) => {
      this.#process.once("error", (error) => {
        forget();
        reject(new Error(`${this.name} could not be started: ${error.message}`));
      });
      this.#process.once("close", (code, signal) => {
        forget();
        resolve(code ?? signal ?? -1);
      });
    });
    this.#exited.catch(() => {}); // reported by whoever waits for it
    createInterface(this.#process.stdout).on("line", (line) => {
      keep(this.#stdout, line);
      this.#stdoutGrew();
    });
    createInterface(this.#process.stderr).on("line", (line) => keep(this.#log, line));
  }

  /** The first line of stdout that is a JSON object with `"ready": true`. */
  async ready<T extends { ready: true }>(): Promise<T> {
    const line = new Promise<T>((resolve) => {
      this.#stdoutGrew = () => {
        const found = this.#stdout.map(parseJson).find(isReady);
        if (found !== undefined) resolve(found as T);
      };
      this.#stdoutGrew();
    });
    const ended = this.#exited.then((code) => {
      throw new Error(`${this.name} ended (${code}) before it was ready:\n${this.log()}`);
    });
    return await Promise.race([line, ended]);
  }

  /** Waits for the end; gives the exit code, or the signal that ended it. */
  async exited(): Promise<number | NodeJS.Signals> {
    return await this.#exited;
  }

  get running(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null && this.#process.pid !== undefined;
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  /** Ends it as an operator would, and fails when it does not end. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    if (!this.running) return;
    this.#process.kill(signal);
    const ended = await Promise.race([
      this.#exited.then(() => true),
      new Promise<false>((resolve) => setTimeout(() => resolve(false), STOP_DEADLINE_MS).unref()),
    ]);
    if (ended) return;
    await this.kill();
    throw new Error(`${this.name} did not end within ${STOP_DEADLINE_MS} ms of ${signal}:\n${this.log()}`);
  }

  /** Sends a signal that does not end it: SIGSTOP, SIGCONT. */
  signal(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  /** kill -9: no handler runs, nothing is flushed. */
  async kill(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#exited.catch(() => {});
  }

  stdout(): string {
    return this.#stdout.join("\n");
  }

  /** The last lines of stderr. */
  log(): string {
    return this.#log.join("\n");
  }
}

function keep(lines: string[], line: string): void {
  lines.push(line);
  if (lines.length > KEPT_LINES) lines.shift();
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

function isReady(value: unknown): boolean {
  return typeof value === "object" && value !== null && "ready" in value && value.ready === true;
}
