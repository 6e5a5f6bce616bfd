/** The Rust side: a child process that answers a line with a line. */

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { toText } from './json.js';

const BINARY =
  process.env['CROSSFADE_INTEROP_DRIVER'] ??
  fileURLToPath(new URL('../../../target/debug/examples/interop_driver', import.meta.url));

const BUILD = 'cargo build -p mergeable-store --example interop_driver';

/** The driver says that it cannot go on: a schedule it does not understand, or a store that contradicts itself. */
export class DriverError extends Error {}

interface Waiting {
  resolve(answer: unknown): void;
  reject(error: Error): void;
}

export class Driver {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #waiting: Waiting[] = [];
  #rest: string[] = [];
  #ended: Error | undefined;

  constructor() {
    if (!existsSync(BINARY)) throw new Error(`${BINARY} is missing; build it: ${BUILD}`);
    this.#child = spawn(BINARY, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.stdout.setEncoding('utf8').on('data', (chunk: string) => this.#take(chunk));
    let complaints = '';
    this.#child.stderr.setEncoding('utf8').on('data', (chunk: string) => (complaints += chunk));
    this.#child.stdin.on('error', () => undefined);
    this.#child.on('close', (code, signal) => {
      this.#ended = new DriverError(`the driver ended (${code ?? signal}): ${complaints.trim()}`);
      for (const waiting of this.#waiting.splice(0)) waiting.reject(this.#ended);
    });
  }

  /** Whether it still answers; after a panic it does not. */
  get alive(): boolean {
    return this.#ended === undefined;
  }

  /** Sends a command; its outcome. */
  call(command: unknown): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#ended) return reject(this.#ended);
      this.#waiting.push({ resolve, reject });
      this.#child.stdin.write(`${toText(command)}\n`);
    });
  }

  async close(): Promise<void> {
    if (!this.alive) return;
    const closed = new Promise((resolve) => this.#child.once('close', resolve));
    this.#child.stdin.end();
    await closed;
  }

  #take(chunk: string): void {
    let start = 0;
    for (let end = chunk.indexOf('\n'); end >= 0; end = chunk.indexOf('\n', start)) {
      this.#rest.push(chunk.slice(start, end));
      this.#answered(this.#rest.join(''));
      this.#rest = [];
      start = end + 1;
    }
    if (start < chunk.length) this.#rest.push(chunk.slice(start));
  }

  #answered(line: string): void {
    const { ok, error } = JSON.parse(line) as { ok?: unknown; error?: string };
    const waiting = this.#waiting.shift();
    if (error === undefined) waiting?.resolve(ok);
    else waiting?.reject(new DriverError(error));
  }
}
