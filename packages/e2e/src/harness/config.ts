import { join } from "node:path";

export interface ConfigParts {
  readonly directory: string;
  /** The process's name: its recordings have it, for each has its own. */
  readonly name: string;
  readonly legacyUrl: string;
  readonly jwtKeyFile: string;
  /** The whole `[flags]` part. */
  readonly flagsToml: string;
  /** 0 at first; after a restart the ports that clients already know. */
  readonly listenPort: number;
  readonly adminPort: number;
  /** How long a request waits for legacy's answer; crossfade's own default without it. */
  readonly responseTimeoutMs?: number | undefined;
}

/** The users resource of the legacy API, as an operator would describe it to crossfade. */
const USERS_RESOURCE = `
[[resource]]
name = "users"
table = "users"
id = "id"
version = "version"
create = "client-id"
path = "org/{org}"
claims = { org = "org_id" }
row = { org = "orgId" }

[resource.routes]
list = "GET /users"
get = "GET /users/{id}"
create = "POST /users"
update = "PATCH /users/{id}"
delete = "DELETE /users/{id}"
exclude = ["/users/me"]

[resource.envelope]
list = "/data"
total = "/total"
limit = "/limit"
offset = "/offset"
item = ""

[resource.cells.id]
type = "string"
required = true
[resource.cells.orgId]
type = "string"
required = true
[resource.cells.email]
type = "string"
required = true
[resource.cells.name]
type = "string"
required = true
[resource.cells.role]
type = "string"
enum = ["admin", "member", "viewer"]
[resource.cells.age]
type = "number"
nullable = true
[resource.cells.active]
type = "boolean"
[resource.cells.createdAt]
type = "string"
read_only = true
[resource.cells.updatedAt]
type = "string"
read_only = true
[resource.cells.version]
type = "number"
read_only = true

[resource.query]
filters = [
  { param = "role", cell = "role", op = "eq" },
  { param = "roles", cell = "role", op = "in" },
  { param = "active", cell = "active", op = "eq" },
  { param = "minAge", cell = "age", op = "ge" },
  { param = "maxAge", cell = "age", op = "le" },
  { param = "q", cell = "name", op = "contains" },
]
[resource.query.sort]
param = "sort"
keys = ["name", "email", "age", "role", "createdAt", "updatedAt"]
default = "id"
tie_breaker = "id"
collation = "binary"
nulls = "first"
[resource.query.page]
limit = "limit"
offset = "offset"
default_limit = 20
max_limit = 100
`;

/** A test says itself when a stage begins; the one about interlocks takes this out. */
export const WAIVED = '[interlocks]\nwaive = ["backfill", "reconcile", "mismatch-gate"]';

/** A whole crossfade.toml. Waiting times are short, so that a test waits for conditions and not for patience. */
export function configToml(parts: ConfigParts): string {
  const text = (value: string) => JSON.stringify(value);
  return `
[server]
listen = "127.0.0.1:${parts.listenPort}"

[admin]
listen = "127.0.0.1:${parts.adminPort}"
token = "env:CROSSFADE_ADMIN_TOKEN"

[legacy]
url = ${text(parts.legacyUrl)}
service_token = "env:CROSSFADE_SERVICE_TOKEN"
${parts.responseTimeoutMs === undefined ? "" : `response_timeout_ms = ${parts.responseTimeoutMs}`}

[storage]
url = ${text(`file:${join(parts.directory, "crossfade.db")}`)}
recordings = ${text(`file:${join(parts.directory, `${parts.name}-recordings.db`)}`)}

[identity]
mode = "clerk"
jwt_key_file = ${text(parts.jwtKeyFile)}

${parts.flagsToml}
${WAIVED}

[compare]
settle_ms = [200, 1000]
# What a test counts must not depend on a draw; the one about parity wants every check.
parity_sample = 0

[outbox]
initial_backoff_ms = 50
max_backoff_ms = 500
${USERS_RESOURCE}`;
}
