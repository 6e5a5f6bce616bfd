import { createHash } from "node:crypto";
import type { Client, InStatement } from "@libsql/client";
import { ApiError } from "./errors.js";

/** How long an answer can be had again by its key. */
const KEPT_MS = 24 * 60 * 60 * 1_000;
const MAX_KEY_LENGTH = 255;

export interface IdempotentRequest {
  /** Keys of different callers never meet. */
  readonly scope: string;
  readonly key: string;
  readonly requestHash: string;
}

/** Names a request by the caller's key; the body's hash tells a repetition from a mistake. */
export function idempotentRequest(scope: string, key: string, body: unknown): IdempotentRequest {
  if (key.length === 0 || key.length > MAX_KEY_LENGTH) {
    throw new ApiError("validation_failed", `Idempotency-Key: use 1 to ${MAX_KEY_LENGTH} characters`);
  }
  return { scope, key, requestHash: createHash("sha256").update(JSON.stringify(body)).digest("hex") };
}

/** The answers to earlier requests, kept so that a repeated request is answered and not carried out again. */
export class IdempotencyTable {
  readonly #client: Client;

  constructor(client: Client) {
    this.#client = client;
  }

  /** The earlier answer as JSON text; undefined when this key is new. */
  async find(request: IdempotentRequest): Promise<string | undefined> {
    const { rows } = await this.#client.execute({
      sql: "SELECT request_hash, response FROM idempotency_keys WHERE scope = ? AND key = ?",
      args: [request.scope, request.key],
    });
    if (rows[0] === undefined) return undefined;
    if (rows[0].request_hash !== request.requestHash) {
      throw new ApiError("idempotency_key_reused", "this Idempotency-Key was used with another body");
    }
    return String(rows[0].response);
  }

  /** Statements that remember an answer and forget the outdated ones; run them with the change itself. */
  remember(request: IdempotentRequest, response: string, now: Date): InStatement[] {
    return [
      {
        sql: "DELETE FROM idempotency_keys WHERE created_at < ?",
        args: [new Date(now.getTime() - KEPT_MS).toISOString()],
      },
      {
        sql: "INSERT INTO idempotency_keys (scope, key, request_hash, response, created_at) VALUES (?, ?, ?, ?, ?)",
        args: [request.scope, request.key, request.requestHash, response, now.toISOString()],
      },
    ];
  }
}
