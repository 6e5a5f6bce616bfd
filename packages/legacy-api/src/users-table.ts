import { LibsqlError, type Client, type InStatement, type InValue, type Row } from "@libsql/client";
import { ApiError } from "./errors.js";
import type { SortKey, User, UserChange, UserPage, UserQuery } from "./user.js";

const COLUMN = {
  email: "email",
  name: "name",
  role: "role",
  age: "age",
  active: "active",
  createdAt: "created_at",
  updatedAt: "updated_at",
} as const satisfies Record<SortKey | keyof UserChange, string>;

/** Which rows a caller may see: one organisation's, or all. */
export type Scope = { readonly orgId: string } | "all";

interface Condition {
  readonly sql: string;
  readonly args: readonly InValue[];
}

/** The users table. Every read and change names the scope that it may touch. */
export class UsersTable {
  readonly #client: Client;

  constructor(client: Client) {
    this.#client = client;
  }

  /** The page and the total are read in one transaction, so that they agree. */
  async list(scope: Scope, query: UserQuery): Promise<UserPage> {
    const where = joinConditions([...scopeConditions(scope), ...filterConditions(query)]);
    const [page, count] = await this.#client.batch(
      [
        {
          sql: `SELECT * FROM users${where.sql} ORDER BY ${orderBy(query)} LIMIT ? OFFSET ?`,
          args: [...where.args, query.limit, query.offset],
        },
        { sql: `SELECT count(*) AS total FROM users${where.sql}`, args: [...where.args] },
      ],
      "read",
    );
    return {
      data: (page?.rows ?? []).map(toUser),
      total: Number(count?.rows[0]?.total ?? 0),
      limit: query.limit,
      offset: query.offset,
    };
  }

  async get(scope: Scope, id: string): Promise<User | undefined> {
    const where = joinConditions([...scopeConditions(scope), { sql: "id = ?", args: [id] }]);
    const { rows } = await this.#client.execute({ sql: `SELECT * FROM users${where.sql}`, args: [...where.args] });
    return rows[0] === undefined ? undefined : toUser(rows[0]);
  }

  /** Inserts the row and, in the same transaction, whatever else must stand or fall with it. */
  async insert(user: User, together: readonly InStatement[] = []): Promise<void> {
    const insert = {
      sql: `INSERT INTO users (id, org_id, email, name, role, age, active, created_at, updated_at, version)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      args: [
        user.id, user.orgId, user.email, user.name, user.role, user.age, Number(user.active),
        user.createdAt, user.updatedAt, user.version,
      ],
    };
    // `together` comes first: a repeated idempotency key is then the conflict that is reported.
    await this.#client.batch([...together, insert], "write").catch(rethrowConflict);
  }

  /** One statement reads and writes, so concurrent changes cannot lose a version. */
  async update(scope: Scope, id: string, change: UserChange, updatedAt: string): Promise<User | undefined> {
    const fields = Object.entries(change).filter(([, value]) => value !== undefined) as [keyof UserChange, InValue][];
    const where = joinConditions([...scopeConditions(scope), { sql: "id = ?", args: [id] }]);
    const assignments = fields.map(([field]) => `${COLUMN[field]} = ?`).join(", ");
    const { rows } = await this.#client
      .execute({
        sql: `UPDATE users SET ${assignments}, updated_at = ?, version = version + 1${where.sql} RETURNING *`,
        args: [...fields.map(([, value]) => (typeof value === "boolean" ? Number(value) : value)), updatedAt, ...where.args],
      })
      .catch(rethrowConflict);
    return rows[0] === undefined ? undefined : toUser(rows[0]);
  }

  async delete(scope: Scope, id: string): Promise<boolean> {
    const where = joinConditions([...scopeConditions(scope), { sql: "id = ?", args: [id] }]);
    const { rowsAffected } = await this.#client.execute({ sql: `DELETE FROM users${where.sql}`, args: [...where.args] });
    return rowsAffected > 0;
  }
}

function scopeConditions(scope: Scope): Condition[] {
  return scope === "all" ? [] : [{ sql: "org_id = ?", args: [scope.orgId] }];
}

function filterConditions(query: UserQuery): Condition[] {
  const conditions: Condition[] = [];
  if (query.orgId !== undefined) conditions.push({ sql: "org_id = ?", args: [query.orgId] });
  if (query.email !== undefined) conditions.push({ sql: "email = ?", args: [query.email] });
  if (query.role !== undefined) conditions.push({ sql: "role = ?", args: [query.role] });
  if (query.roles !== undefined) {
    conditions.push({ sql: `role IN (${query.roles.map(() => "?").join(", ")})`, args: query.roles });
  }
  if (query.active !== undefined) conditions.push({ sql: "active = ?", args: [Number(query.active)] });
  if (query.minAge !== undefined) conditions.push({ sql: "age >= ?", args: [query.minAge] });
  if (query.maxAge !== undefined) conditions.push({ sql: "age <= ?", args: [query.maxAge] });
  if (query.q !== undefined) {
    conditions.push({ sql: "name LIKE ? ESCAPE '\\'", args: [`%${query.q.replace(/[\\%_]/g, "\\$&")}%`] });
  }
  return conditions;
}

function joinConditions(conditions: readonly Condition[]): Condition {
  return {
    sql: conditions.length === 0 ? "" : ` WHERE ${conditions.map(({ sql }) => sql).join(" AND ")}`,
    args: conditions.flatMap(({ args }) => args),
  };
}

/** SQLite's own order: BINARY collation, NULL before every value. The id makes the order total. */
function orderBy(query: UserQuery): string {
  const terms = (query.sort ?? []).map(({ key, descending }) => `${COLUMN[key]}${descending ? " DESC" : ""}`);
  return [...terms, "id"].join(", ");
}

function toUser(row: Row): User {
  return {
    id: String(row.id),
    orgId: String(row.org_id),
    email: String(row.email),
    name: String(row.name),
    role: String(row.role) as User["role"],
    age: row.age === null ? null : Number(row.age),
    active: row.active === 1,
    createdAt: String(row.created_at),
    updatedAt: String(row.updated_at),
    version: Number(row.version),
  };
}

/** A broken unique constraint is the caller's conflict; anything else is ours. */
function rethrowConflict(error: unknown): never {
  if (error instanceof LibsqlError && error.code.startsWith("SQLITE_CONSTRAINT")) {
    if (error.message.includes("idempotency_keys.")) throw new IdempotencyConflict();
    if (error.message.includes("users.email")) throw new ApiError("email_taken", "another user has this email");
    if (error.message.includes("users.id")) throw new ApiError("id_taken", "another user has this id");
  }
  throw error;
}

/** Another request with the same idempotency key was committed first. */
export class IdempotencyConflict extends Error {
  override readonly name = "IdempotencyConflict";
}
