import { setTimeout as delay } from "node:timers/promises";
import { OpenAPIHono } from "@hono/zod-openapi";
import type { Client } from "@libsql/client";
import type { Context, Next } from "hono";
import { bodyLimit } from "hono/body-limit";
import { getCookie } from "hono/cookie";
import { HTTPException } from "hono/http-exception";
import { ApiError } from "./errors.js";
import { falsify, Faults, PurposeCounter, withoutRows } from "./faults.js";
import { IdempotencyTable } from "./idempotency.js";
import { Authenticator, type Caller } from "./identity.js";
import type { Settings } from "./settings.js";
import { usersRoutes, type ApiEnv } from "./users-routes.js";
import { UsersTable } from "./users-table.js";

const MAX_BODY_BYTES = 64 * 1024;
/** `application/json`, and what is built on it (RFC 6839), with or without parameters. */
const JSON_TYPE = /^application\/([a-z.-]+\+)?json\s*(;|$)/i;

export interface AppParts {
  readonly settings: Settings;
  readonly database: Client;
  readonly now: () => Date;
  /** Told of what went wrong on our side; the caller only learns that it did. */
  readonly reportError: (error: unknown) => void;
}

/** The whole API as one Hono application, without a socket. */
export function createApp({ settings, database, now, reportError }: AppParts): OpenAPIHono<ApiEnv> {
  const app = new OpenAPIHono<ApiEnv>({
    defaultHook: (result) => {
      if (!result.success) throw invalid(result.error.issues);
    },
  });
  app.onError((error, c) => {
    const known = toApiError(error);
    if (known.code === "internal") reportError(error);
    if (known.status === 401) c.header("www-authenticate", "Bearer");
    return c.json(known.body, known.status);
  });
  app.notFound((c) => c.json(new ApiError("not_found", "no such route").body, 404));
  app.get("/healthz", async (c) => {
    await database.execute("SELECT 1");
    return c.json({ status: "ok" });
  });

  if (settings.faultsAllowed) misbehave(app);
  authenticate(app, new Authenticator(settings));
  app.use("/users/*", bodyLimit({ maxSize: MAX_BODY_BYTES, onError: tooLarge }));
  app.on(["POST", "PATCH"], ["/users", "/users/:id"], jsonOnly);
  usersRoutes(app, {
    users: new UsersTable(database),
    idempotency: new IdempotencyTable(database),
    makesIds: settings.makesIds,
    now,
  });
  publish(app);
  return app;
}

function authenticate(app: OpenAPIHono<ApiEnv>, authenticator: Authenticator): void {
  app.use("/users/*", async (c, next) => {
    c.set(
      "caller",
      await authenticator.authenticate({
        authorization: c.req.header("authorization"),
        sessionCookie: getCookie(c, "__session"),
        onBehalfOf: c.req.header("crossfade-on-behalf-of"),
      }),
    );
    await next();
  });
}

function publish(app: OpenAPIHono<ApiEnv>): void {
  app.openAPIRegistry.registerComponent("securitySchemes", "session", {
    type: "http",
    scheme: "bearer",
    bearerFormat: "JWT",
    description: "A Clerk session token, or the service credential.",
  });
  app.doc31("/openapi.json", { openapi: "3.1.0", info: { title: "Users API", version: "0.1.0" } });
}

/** Switches for tests; registered only when the settings allow them. */
function misbehave(app: OpenAPIHono<ApiEnv>): void {
  let faults: Faults = Faults.parse({});
  const purposes = new PurposeCounter();

  app.put("/__faults", async (c) => {
    const parsed = Faults.safeParse(await c.req.json());
    if (!parsed.success) throw invalid(parsed.error.issues);
    faults = parsed.data;
    return c.json(faults);
  });
  app.get("/__stats", (c) => c.json({ requests: purposes.snapshot() }));
  app.use("/users/*", async (c, next) => {
    purposes.count(c.req.header("crossfade-purpose"));
    const { delayMs, status, wrongField, hideRows } = faults;
    if (delayMs > 0) await delay(delayMs);
    if (status !== null) throw new ApiError("fault", "switched on for a test");
    await next();
    if (wrongField !== null && c.req.method === "GET" && c.res.ok) {
      c.res = c.json(falsify(await c.res.json(), wrongField), 200);
    }
    // Who asks is known only behind the routes' own middleware.
    const caller = c.get("caller") as Caller | undefined;
    if (hideRows !== null && c.req.method === "GET" && c.res.ok && caller?.kind === "user" && caller.userId === hideRows.from) {
      const left = withoutRows(await c.res.json(), hideRows.ids);
      const missing = new ApiError("not_found", "no such user");
      c.res = left === undefined ? c.json(missing.body, missing.status) : c.json(left as object, 200);
    }
  });
}

interface Issue {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

function invalid(issues: readonly Issue[]): ApiError {
  const details = issues.map(({ path, message }) => (path.length === 0 ? message : `${path.join(".")}: ${message}`));
  return new ApiError("validation_failed", details.join("; "));
}

/** A body of another kind is not read, and a handler would find no fields where it expects them. */
async function jsonOnly(c: Context<ApiEnv>, next: Next): Promise<void> {
  const type = c.req.header("content-type") ?? "";
  if (!JSON_TYPE.test(type)) {
    throw new ApiError("unsupported_media_type", "send the body as application/json");
  }
  await next();
}

function tooLarge(): never {
  throw new ApiError("body_too_large", `a body has at most ${MAX_BODY_BYTES} bytes`);
}

function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  // Hono's validator and JSON reader report an unreadable body in these two ways.
  if (error instanceof SyntaxError || (error instanceof HTTPException && error.status === 400)) {
    return new ApiError("bad_json", "the body is not JSON");
  }
  return new ApiError("internal", "something went wrong on our side");
}
