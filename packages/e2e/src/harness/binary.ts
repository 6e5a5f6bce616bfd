import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { ChildOptions } from "./child.js";

const BUILT_BINARY = fileURLToPath(new URL("../../../../target/debug/crossfade", import.meta.url));
export const ADMIN_TOKEN = "crossfade-e2e-admin-token";

export interface CommandParts {
  readonly directory: string;
  readonly serviceToken: string;
  /** What the flag provider needs. */
  readonly env: Readonly<Record<string, string>>;
}

/** How to start a command of the binary under test. */
export function commandLine(parts: CommandParts, command: string, args: readonly string[]): ChildOptions {
  const binary = process.env.CROSSFADE_BIN ?? BUILT_BINARY;
  if (!existsSync(binary)) {
    throw new Error(`no crossfade binary at ${binary}: run \`cargo build\`, or set CROSSFADE_BIN to one`);
  }
  return {
    name: `crossfade ${command}`,
    command: binary,
    args: [command, ...args],
    cwd: parts.directory,
    env: {
      ...parts.env,
      CROSSFADE_ADMIN_TOKEN: ADMIN_TOKEN,
      CROSSFADE_SERVICE_TOKEN: parts.serviceToken,
      RUST_LOG: process.env.RUST_LOG ?? "info",
      RUST_BACKTRACE: "1",
      // Otherwise each failed flag poll logs a backtrace.
      RUST_LIB_BACKTRACE: "0",
    },
  };
}
