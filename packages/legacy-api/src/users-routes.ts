import { randomUUID } from "node:crypto";
import { createRoute, OpenAPIHono, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { ApiError } from "./errors.js";
import type { Caller } from "./identity.js";
import { idempotentRequest, type IdempotencyTable } from "./idempotency.js";
import { readScope, writeScope } from "./permission.js";
import { NewUser, User, UserChange, userId, UserPage, UserQuery } from "./user.js";
import { IdempotencyConflict, type UsersTable } from "./users-table.js";

/** What the middlewares of `app.ts` leave for a handler. */
export type ApiEnv = { Variables: { caller: Caller } };

const ErrorAnswer = z
  .object({ error: z.object({ code: z.string(), message: z.string() }) })
  .openapi("Error");

const json = <T extends z.ZodType>(schema: T, description: string) => ({
  description,
  content: { "application/json": { schema } },
});
const errors = {
  401: json(ErrorAnswer, "Nobody is signed in"),
  403: json(ErrorAnswer, "The caller's role does not allow this"),
  422: json(ErrorAnswer, "A parameter or field is not valid"),
};
const notFound = { 404: json(ErrorAnswer, "No such user in the caller's organisation") };
const conflict = { 409: json(ErrorAnswer, "The email or the id is taken") };
const badBody = {
  400: json(ErrorAnswer, "The body is not JSON"),
  413: json(ErrorAnswer, "The body is too large"),
  415: json(ErrorAnswer, "The body is not sent as JSON"),
};
// Any text is looked up, so that an impossible id is "not found" and not an error of its own.
const params = z.object({ id: z.string() });
const body = <T extends z.ZodType>(schema: T) => ({
  required: true,
  content: { "application/json": { schema } },
});
const security = [{ session: [] }];

const listRoute = createRoute({
  method: "get",
  path: "/users",
  security,
  request: { query: UserQuery },
  responses: { 200: json(UserPage, "A page of users"), ...errors },
});
const Me = z.object({ userId: z.string(), orgId: z.string(), role: z.string() }).openapi("Me");
const meRoute = createRoute({
  method: "get",
  path: "/users/me",
  security,
  responses: { 200: json(Me, "Who is signed in"), 401: errors[401], 403: errors[403] },
});
const getRoute = createRoute({
  method: "get",
  path: "/users/{id}",
  security,
  request: { params },
  responses: { 200: json(User, "The user"), ...errors, ...notFound },
});
const createUserRoute = createRoute({
  method: "post",
  path: "/users",
  security,
  request: { body: body(NewUser), headers: z.object({ "idempotency-key": z.string().optional() }) },
  responses: { 201: json(User, "The new user"), ...badBody, ...errors, ...conflict },
});
const updateRoute = createRoute({
  method: "patch",
  path: "/users/{id}",
  security,
  request: { params, body: body(UserChange) },
  responses: { 200: json(User, "The changed user"), ...badBody, ...errors, ...notFound, ...conflict },
});
const deleteRoute = createRoute({
  method: "delete",
  path: "/users/{id}",
  security,
  request: { params },
  responses: { 204: { description: "The user is gone" }, ...errors, ...notFound },
});

export interface UsersRoutesParts {
  readonly users: UsersTable;
  readonly idempotency: IdempotencyTable;
  /** A create that brings an id is refused. */
  readonly makesIds: boolean;
  readonly now: () => Date;
}

/** Registers the users routes; each is validated by the schema that it publishes. */
export function usersRoutes(app: OpenAPIHono<ApiEnv>, { users, idempotency, makesIds, now }: UsersRoutesParts): void {
  app.openapi(listRoute, async (c) => c.json(await users.list(readScope(c.var.caller), c.req.valid("query")), 200));

  // Before /users/{id}: the first route that matches answers.
  app.openapi(meRoute, (c) => {
    const { caller } = c.var;
    if (caller.kind === "service") throw new ApiError("forbidden", "the service credential is nobody");
    return c.json({ userId: caller.userId, orgId: caller.orgId, role: caller.role }, 200);
  });

  app.openapi(getRoute, async (c) => {
    const user = await users.get(readScope(c.var.caller), c.req.valid("param").id);
    return c.json(user ?? missing(), 200);
  });

  app.openapi(createUserRoute, async (c) => {
    const { orgId } = writeScope(c.var.caller, "create");
    const fields = c.req.valid("json");
    if (fields.orgId !== undefined && fields.orgId !== orgId) {
      throw new ApiError("forbidden", "a user is created in the caller's own organisation");
    }
    if (makesIds && fields.id !== undefined) throw new ApiError("validation_failed", "id: the server chooses it");
    const key = c.req.valid("header")["idempotency-key"];
    const request = key === undefined ? undefined : idempotentRequest(callerScope(c), key, fields);
    const earlier = request && (await idempotency.find(request));
    if (earlier !== undefined) return replay(c, earlier);

    const at = now();
    const user = newUser(fields, orgId, at);
    const together = request ? idempotency.remember(request, JSON.stringify(user), at) : [];
    try {
      await users.insert(user, together);
    } catch (error) {
      // The same request, sent twice at once: the other one was first.
      const committed = error instanceof IdempotencyConflict && request ? await idempotency.find(request) : undefined;
      if (committed === undefined) throw error;
      return replay(c, committed);
    }
    return c.json(user, 201, { location: location(user) });
  });

  app.openapi(updateRoute, async (c) => {
    const scope = writeScope(c.var.caller, "update");
    const user = await users.update(scope, c.req.valid("param").id, c.req.valid("json"), now().toISOString());
    return c.json(user ?? missing(), 200);
  });

  app.openapi(deleteRoute, async (c) => {
    const scope = writeScope(c.var.caller, "delete");
    if (!(await users.delete(scope, c.req.valid("param").id))) missing();
    return c.body(null, 204);
  });
}

function newUser(fields: NewUser, orgId: string, at: Date): User {
  const timestamp = at.toISOString();
  return {
    ...{ email: fields.email, name: fields.name, role: fields.role, age: fields.age, active: fields.active },
    id: fields.id ?? userId.parse(`user_${randomUUID().replaceAll("-", "")}`),
    orgId,
    createdAt: timestamp,
    updatedAt: timestamp,
    version: 1,
  };
}

function replay(c: Context<ApiEnv>, stored: string) {
  const user = User.parse(JSON.parse(stored));
  return c.json(user, 201, { location: location(user), "idempotency-replayed": "true" });
}

function location(user: User): string {
  return `/users/${user.id}`;
}

/** Idempotency keys belong to one user in one organisation. */
function callerScope(c: Context<ApiEnv>): string {
  const { caller } = c.var;
  return caller.kind === "service" ? "service" : JSON.stringify([caller.orgId, caller.userId]);
}

function missing(): never {
  throw new ApiError("not_found", "no such user");
}
