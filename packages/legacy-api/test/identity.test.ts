import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { SignJWT } from "jose";
import type { User, UserPage } from "../src/user.js";
import { errorCode, ids, onBehalfOf, publicKey, SERVICE_TOKEN, session, signSession, startApi } from "./support.js";

const now = () => Math.floor(Date.now() / 1_000);

describe("sessions", () => {
  it("are read in both of Clerk's claim versions", async (t) => {
    const api = await startApi(t);
    const v1 = await signSession({ sub: "user_ada", org_id: "org_1", org_role: "org:member" });
    const v2 = await session({ userId: "user_ada", orgId: "org_1", role: "member" });
    const expected = { userId: "user_ada", orgId: "org_1", role: "org:member" };
    assert.deepEqual((await api.call("GET", "/users/me", { token: v1 })).body, expected);
    assert.deepEqual((await api.call("GET", "/users/me", { token: v2 })).body, expected);
  });

  it("come in the cookie too; the header goes first", async (t) => {
    const api = await startApi(t);
    const cookie = `theme=dark; __session=${await session({ userId: "user_cookie" })}`;
    const fromCookie = await api.call<{ userId: string }>("GET", "/users/me", { token: null, headers: { cookie } });
    const fromHeader = await api.call<{ userId: string }>("GET", "/users/me", { headers: { cookie } });
    assert.equal(fromCookie.body.userId, "user_cookie");
    assert.equal(fromHeader.body.userId, "user_ada");
  });

  const bad: [what: string, token: () => Promise<string | null>][] = [
    ["no token", async () => null],
    ["not a token", async () => "nonsense"],
    ["expired", () => session({}, { exp: now() - 10 })],
    ["not valid yet", () => session({}, { nbf: now() + 60 })],
    ["signed by somebody else", () => session({}, {}, "stranger")],
    ["tampered with", async () => tamper(await session())],
    ["not signed in yet", () => session({}, { sts: "pending" })],
    // The public key used as an HMAC secret: accepted by verifiers that trust the token's own `alg`.
    ["signed with the public key", () =>
      new SignJWT({ sub: "user_ada", org_id: "org_1", org_role: "org:admin", exp: now() + 60 })
        .setProtectedHeader({ alg: "HS256", typ: "JWT" })
        .sign(new TextEncoder().encode(publicKey()))],
  ];
  for (const [what, token] of bad) {
    it(`401: ${what}`, async (t) => {
      const api = await startApi(t);
      const answer = await api.call("GET", "/users", { token: await token() });
      assert.deepEqual([answer.status, errorCode(answer)], [401, "unauthenticated"]);
      assert.equal(answer.headers.get("www-authenticate"), "Bearer");
    });
  }

  it("403 without an organisation", async (t) => {
    const api = await startApi(t);
    const answer = await api.call("GET", "/users", { token: await signSession({ sub: "user_ada" }) });
    assert.deepEqual([answer.status, errorCode(answer)], [403, "no_organisation"]);
  });

  it("must come from an authorized party where some are named", async (t) => {
    const api = await startApi(t, { authorizedParties: ["http://localhost:3000"] });
    assert.equal((await api.call("GET", "/users")).status, 200);
    const foreign = await session({}, { azp: "http://localhost:9999" });
    assert.equal((await api.call("GET", "/users", { token: foreign })).status, 401);
  });
});

describe("the service credential", () => {
  it("reads every organisation, or the one asked for", async (t) => {
    const api = await startApi(t);
    await api.create({ id: "a" });
    await api.create({ id: "b" }, { orgId: "org_2" });
    const list = (query: string) => api.call<UserPage>("GET", `/users${query}`, { token: SERVICE_TOKEN });
    assert.deepEqual(ids(await list("")), ["a", "b"]);
    assert.deepEqual(ids(await list("?orgId=org_2")), ["b"]);
    assert.equal((await api.call("GET", "/users/b", { token: SERVICE_TOKEN })).status, 200);
    assert.equal((await api.call("GET", "/users/me", { token: SERVICE_TOKEN })).status, 403);
  });

  it("is worth nothing when it is not the configured one, or none is", async (t) => {
    const api = await startApi(t);
    const without = await startApi(t, { serviceToken: undefined });
    assert.equal((await api.call("GET", "/users", { token: `${SERVICE_TOKEN}x` })).status, 401);
    assert.equal((await without.call("GET", "/users", { token: SERVICE_TOKEN })).status, 401);
  });

  it("writes on behalf of a user, with that user's organisation and role", async (t) => {
    const api = await startApi(t);
    const as = async (claims: object) => ({
      token: SERVICE_TOKEN,
      headers: { "crossfade-on-behalf-of": await onBehalfOf({ ...claims }) },
    });
    const json = { id: "u1", email: "u1@example.test", name: "One" };
    assert.equal((await api.call("POST", "/users", { token: SERVICE_TOKEN, json })).status, 403);
    const created = await api.call<User>("POST", "/users", { ...(await as({ org_id: "org_2" })), json });
    assert.deepEqual([created.status, created.body.orgId], [201, "org_2"]);
    // Not theirs, so not there.
    const foreign = await api.call("PATCH", "/users/u1", { ...(await as({})), json: { name: "X" } });
    assert.equal(foreign.status, 404);
    const member = { org_id: "org_2", org_role: "org:member" };
    assert.equal((await api.call("PATCH", "/users/u1", { ...(await as(member)), json: { name: "X" } })).status, 200);
    assert.equal((await api.call("DELETE", "/users/u1", await as(member))).status, 403);
    assert.equal((await api.call("DELETE", "/users/u1", await as({ org_id: "org_2" }))).status, 204);
  });

  const bad: [what: string, token: () => Promise<string>][] = [
    ["not a token", async () => "nonsense"],
    ["expired", () => onBehalfOf({ exp: now() - 10 })],
    ["for another audience", () => onBehalfOf({ aud: "elsewhere" })],
    ["signed with another key", () => onBehalfOf({}, "another-key-that-is-long-enough-to-sign")],
    ["without a role", () => onBehalfOf({ org_role: "" })],
    ["tampered with", async () => tamper(await onBehalfOf())],
  ];
  for (const [what, token] of bad) {
    it(`401: on behalf of, ${what}`, async (t) => {
      const api = await startApi(t);
      await api.create({ id: "u1" });
      const headers = { "crossfade-on-behalf-of": await token() };
      const answer = await api.call("PATCH", "/users/u1", { token: SERVICE_TOKEN, headers, json: { name: "X" } });
      assert.deepEqual([answer.status, errorCode(answer)], [401, "invalid_on_behalf_of"]);
    });
  }

  it("is what gives Crossfade-On-Behalf-Of its meaning: a session cannot use it", async (t) => {
    const api = await startApi(t);
    const headers = { "crossfade-on-behalf-of": await onBehalfOf({ sub: "user_root", org_role: "org:admin" }) };
    const viewer = await session({ userId: "user_v", role: "viewer" });
    const me = await api.call<{ userId: string; role: string }>("GET", "/users/me", { token: viewer, headers });
    assert.deepEqual([me.body.userId, me.body.role], ["user_v", "org:viewer"]);
  });
});

/** Changes the claims and keeps the signature. */
function tamper(token: string): string {
  const [header, claims, signature] = token.split(".") as [string, string, string];
  const changed = { ...JSON.parse(Buffer.from(claims, "base64url").toString()), sub: "user_root" };
  return [header, Buffer.from(JSON.stringify(changed)).toString("base64url"), signature].join(".");
}
