import { chmodSync, chownSync, mkdtempSync, rmSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * What must not outlive this process. Tests clean up after themselves in order; these are the last
 * resort for a test run that is interrupted, and therefore synchronous.
 */
const lastResorts = new Set<() => void>();

process.on("exit", () => {
  for (const undo of lastResorts) undo();
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => process.exit(1));
}

/** Registers a last resort; call what is returned once the regular cleanup is done. */
export function onExit(undo: () => void): () => void {
  lastResorts.add(undo);
  return () => lastResorts.delete(undo);
}

export interface TempDirectory {
  readonly path: string;
  remove(): Promise<void>;
}

/** A new empty directory, given to another user where a server must not run as the present one. */
export function tempDirectory(name: string, owner?: { readonly uid: number; readonly gid: number }): TempDirectory {
  const path = mkdtempSync(join(tmpdir(), `crossfade-e2e-${name}-`));
  if (owner !== undefined) {
    chownSync(path, owner.uid, owner.gid);
    chmodSync(path, 0o700);
  }
  const forget = onExit(() => rmSync(path, { recursive: true, force: true }));
  return {
    path,
    async remove() {
      await rm(path, { recursive: true, force: true });
      forget();
    },
  };
}

/** Undoes things in the reverse of their order, all of them, even when one fails. */
export class Disposer {
  readonly #undos: (() => Promise<void> | void)[] = [];

  add(undo: () => Promise<void> | void): void {
    this.#undos.push(undo);
  }

  async dispose(): Promise<void> {
    const failures: unknown[] = [];
    for (const undo of this.#undos.splice(0).reverse()) {
      try {
        await undo();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, "cleaning up failed");
  }
}
