import { createClient, type Client } from "@libsql/client";
import type { Settings } from "./settings.js";

/** How long a statement waits for another process that is writing, in milliseconds. */
const BUSY_TIMEOUT_MS = 5_000;

const SCHEMA = `
CREATE TABLE IF NOT EXISTS users (
  id TEXT PRIMARY KEY NOT NULL,
  org_id TEXT NOT NULL,
  email TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  role TEXT NOT NULL CHECK (role IN ('admin', 'member', 'viewer')),
  age INTEGER,
  active INTEGER NOT NULL CHECK (active IN (0, 1)),
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  version INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS users_by_org ON users (org_id, id);
CREATE TABLE IF NOT EXISTS idempotency_keys (
  scope TEXT NOT NULL,
  key TEXT NOT NULL,
  request_hash TEXT NOT NULL,
  response TEXT NOT NULL,
  created_at TEXT NOT NULL,
  PRIMARY KEY (scope, key)
) STRICT;
CREATE INDEX IF NOT EXISTS idempotency_keys_by_age ON idempotency_keys (created_at);
`;

/** Opens the database and makes the tables that are missing. */
export async function openDatabase(settings: Pick<Settings, "databaseUrl" | "databaseAuthToken">): Promise<Client> {
  const client = createClient({
    url: settings.databaseUrl,
    ...(settings.databaseAuthToken === undefined ? {} : { authToken: settings.databaseAuthToken }),
    timeout: BUSY_TIMEOUT_MS,
  });
  if (settings.databaseUrl.startsWith("file:")) await client.execute("PRAGMA journal_mode = WAL");
  await client.executeMultiple(SCHEMA);
  return client;
}
