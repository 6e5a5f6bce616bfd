import { readFileSync } from "node:fs";
import { z } from "zod";

/** What the API needs to know before it starts. Every value comes from the environment. */
export interface Settings {
  readonly host: string;
  /** 0 lets the operating system choose a free port. */
  readonly port: number;
  readonly databaseUrl: string;
  readonly databaseAuthToken: string | undefined;
  /** SPKI PEM of the key that signs session tokens. */
  readonly clerkJwtKey: string;
  /** Accepted `azp` claims; undefined accepts any. */
  readonly authorizedParties: readonly string[] | undefined;
  /** Undefined means that no service credential is accepted. */
  readonly serviceToken: string | undefined;
  readonly faultsAllowed: boolean;
  /** Ids are the server's to choose: a create that brings one is refused. */
  readonly makesIds: boolean;
}

/** A setting that is missing or senseless: the message names the variable and the remedy. */
export class SettingsError extends Error {
  override readonly name = "SettingsError";
}

const port = z.coerce.number().int().min(0).max(65_535);
/** The service credential also keys an HMAC, so a short one would be a weak signature key. */
const SERVICE_TOKEN_MIN_LENGTH = 16;

export function readSettings(env: NodeJS.ProcessEnv): Settings {
  return {
    host: env.HOST ?? "127.0.0.1",
    port: readPort(env.PORT),
    databaseUrl: env.DATABASE_URL ?? "file:legacy-api.db",
    databaseAuthToken: env.DATABASE_AUTH_TOKEN,
    clerkJwtKey: readJwtKey(env),
    authorizedParties: readList(env.CLERK_AUTHORIZED_PARTIES),
    serviceToken: readServiceToken(env.CROSSFADE_SERVICE_TOKEN),
    faultsAllowed: env.LEGACY_API_FAULTS === "1",
    makesIds: env.LEGACY_API_MAKES_IDS === "1",
  };
}

function readPort(text: string | undefined): number {
  const parsed = port.safeParse(text ?? "3000");
  if (!parsed.success) {
    throw new SettingsError(`PORT is "${text}": use a number from 0 (any free port) to 65535`);
  }
  return parsed.data;
}

function readJwtKey(env: NodeJS.ProcessEnv): string {
  const key = env.CLERK_JWT_KEY ?? readKeyFile(env.CLERK_JWT_KEY_FILE);
  if (key === undefined) {
    throw new SettingsError(
      "no key to verify sessions with: set CLERK_JWT_KEY to the PEM shown in Clerk's dashboard, or CLERK_JWT_KEY_FILE to a file that holds it",
    );
  }
  if (!key.includes("-----BEGIN PUBLIC KEY-----")) {
    throw new SettingsError("CLERK_JWT_KEY is not a PEM public key: it must begin with -----BEGIN PUBLIC KEY-----");
  }
  return key;
}

function readKeyFile(path: string | undefined): string | undefined {
  if (path === undefined) return undefined;
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new SettingsError(`CLERK_JWT_KEY_FILE "${path}" cannot be read: ${(error as Error).message}`);
  }
}

function readServiceToken(token: string | undefined): string | undefined {
  if (token === undefined || token === "") return undefined;
  if (token.length < SERVICE_TOKEN_MIN_LENGTH) {
    throw new SettingsError(
      `CROSSFADE_SERVICE_TOKEN has ${token.length} characters: use ${SERVICE_TOKEN_MIN_LENGTH} or more random ones`,
    );
  }
  return token;
}

function readList(text: string | undefined): string[] | undefined {
  const items = text?.split(",").map((item) => item.trim()).filter((item) => item !== "");
  return items === undefined || items.length === 0 ? undefined : items;
}
