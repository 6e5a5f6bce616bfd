import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createClient } from "@libsql/client";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { User, UserPage } from "../src/user.js";
import { errorCode, session, startApi } from "./support.js";

describe("one user", () => {
  it("is created, read, changed and deleted", async (t) => {
    const api = await startApi(t);
    const created = await api.call<User>("POST", "/users", {
      json: { id: "u1", orgId: "org_1", email: "ada@example.test", name: "Ada", role: "admin", age: 36, active: false },
    });
    assert.equal(created.status, 201);
    assert.equal(created.headers.get("location"), "/users/u1");
    const { createdAt, updatedAt, ...rest } = created.body;
    assert.deepEqual(rest, {
      id: "u1", orgId: "org_1", email: "ada@example.test", name: "Ada", role: "admin", age: 36, active: false, version: 1,
    });
    assert.match(createdAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    assert.equal(updatedAt, createdAt);
    assert.deepEqual((await api.call("GET", "/users/u1")).body, created.body);

    const changed = await api.call<User>("PATCH", "/users/u1", { json: { name: "Ada L.", age: null } });
    assert.equal(changed.status, 200);
    assert.deepEqual(
      { ...changed.body, updatedAt: "" },
      { ...created.body, name: "Ada L.", age: null, version: 2, updatedAt: "" },
    );

    assert.equal((await api.call("DELETE", "/users/u1")).status, 204);
    assert.equal((await api.call("DELETE", "/users/u1")).status, 404);
    assert.equal((await api.call("GET", "/users/u1")).status, 404);
    assert.equal((await api.call("PATCH", "/users/u1", { json: { name: "X" } })).status, 404);
  });

  it("gets an id and defaults when the caller names none", async (t) => {
    const api = await startApi(t);
    const { body } = await api.call<User>("POST", "/users", { json: { email: "b@example.test", name: "Bob" } });
    assert.match(body.id, /^user_[0-9a-f]{32}$/);
    assert.deepEqual([body.role, body.age, body.active, body.orgId], ["member", null, true, "org_1"]);
  });

  it("keeps ids and emails unique, over all organisations", async (t) => {
    const api = await startApi(t);
    await api.create({ id: "u1", email: "one@example.test" });
    await api.create({ id: "u2", email: "two@example.test" });
    const sameId = await api.call("POST", "/users", { json: { id: "u1", email: "new@example.test", name: "N" } });
    const sameEmail = await api.call("POST", "/users", {
      token: await session({ orgId: "org_2" }),
      json: { email: "one@example.test", name: "N" },
    });
    const changedEmail = await api.call("PATCH", "/users/u2", { json: { email: "one@example.test" } });
    assert.deepEqual([sameId.status, errorCode(sameId)], [409, "id_taken"]);
    assert.deepEqual([sameEmail.status, errorCode(sameEmail)], [409, "email_taken"]);
    assert.deepEqual([changedEmail.status, errorCode(changedEmail)], [409, "email_taken"]);
    assert.equal((await api.call<User>("GET", "/users/u2")).body.version, 1);
  });

  it("does not exist for another organisation", async (t) => {
    const api = await startApi(t);
    await api.create({ id: "u1" });
    const token = await session({ orgId: "org_2" });
    assert.equal((await api.call("GET", "/users/u1", { token })).status, 404);
    assert.equal((await api.call("PATCH", "/users/u1", { token, json: { name: "X" } })).status, 404);
    assert.equal((await api.call("DELETE", "/users/u1", { token })).status, 404);
    assert.equal((await api.call<User>("GET", "/users/u1")).body.name, "Somebody");
  });

  it("has the id that the server chooses, where it makes ids", async (t) => {
    const api = await startApi(t, { makesIds: true });
    const json = { email: "ada@example.test", name: "Ada" };
    assert.equal((await api.call("POST", "/users", { json: { ...json, id: "u1" } })).status, 422);
    const made = await api.call<User>("POST", "/users", { json });
    assert.equal(made.status, 201);
    assert.match(made.body.id, /^user_/);
    const found = await api.call<UserPage>("GET", "/users?email=ada%40example.test");
    assert.deepEqual(found.body.data, [made.body]);
    assert.equal((await api.call<UserPage>("GET", "/users?email=bob%40example.test")).body.total, 0);
  });

  it("loses no change when many arrive at once", async (t) => {
    const api = await startApi(t);
    await api.create({ id: "u1" });
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, age) => api.call<User>("PATCH", "/users/u1", { json: { age } })),
    );
    const versions = answers.map(({ body }) => body.version).sort((a, b) => a - b);
    assert.deepEqual(versions, Array.from({ length: 50 }, (_, i) => i + 2));
  });

  const invalid: [method: string, path: string, json: unknown][] = [
    ["POST", "/users", {}],
    ["POST", "/users", []],
    ["POST", "/users", { email: "no", name: "N" }],
    ["POST", "/users", { email: "n@example.test", name: "" }],
    ["POST", "/users", { email: "n@example.test", name: "a\0b" }],
    ["POST", "/users", { email: "n@example.test", name: "N", role: "owner" }],
    ["POST", "/users", { email: "n@example.test", name: "N", age: 1.5 }],
    ["POST", "/users", { email: "n@example.test", name: "N", id: "a/b" }],
    ["POST", "/users", { email: "n@example.test", name: "N", id: "me" }],
    ["POST", "/users", { email: "n@example.test", name: "N", version: 7 }],
    ["PATCH", "/users/u1", {}],
    ["PATCH", "/users/u1", { active: "yes" }],
    ["PATCH", "/users/u1", { id: "u2" }],
    ["PATCH", "/users/u1", { updatedAt: "2026-01-01T00:00:00.000Z" }],
  ];
  it("is refused when a field is not valid, and nothing changes", async (t) => {
    const api = await startApi(t);
    const before = await api.create({ id: "u1" });
    for (const [method, path, json] of invalid) {
      const answer = await api.call(method, path, { json });
      assert.deepEqual([answer.status, errorCode(answer)], [422, "validation_failed"], JSON.stringify(json));
    }
    assert.deepEqual((await api.call("GET", "/users/u1")).body, before);
    assert.equal((await api.call<{ total: number }>("GET", "/users")).body.total, 1);
  });

  it("answers 400 to a body that is not JSON, and 413 to one that is too large", async (t) => {
    const api = await startApi(t);
    await api.create({ id: "u1" });
    for (const [method, path] of [["POST", "/users"], ["PATCH", "/users/u1"]] as const) {
      const answer = await api.call(method, path, { raw: '{"name":' });
      assert.deepEqual([answer.status, errorCode(answer)], [400, "bad_json"]);
    }
    const large = await api.call("POST", "/users", { json: { email: "n@example.test", name: "N".repeat(70_000) } });
    assert.deepEqual([large.status, errorCode(large)], [413, "body_too_large"]);
  });

  it("answers 415 to a body that is not sent as JSON, and does nothing", async (t) => {
    const api = await startApi(t);
    const before = await api.create({ id: "u1" });
    const raw = '{"email":"n@example.test","name":"N"}';
    const types = ["text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "application/jsonp"];
    for (const [method, path] of [["POST", "/users"], ["PATCH", "/users/u1"]] as const) {
      for (const type of types) {
        const answer = await api.call(method, path, { raw, headers: { "content-type": type } });
        assert.deepEqual([answer.status, errorCode(answer)], [415, "unsupported_media_type"], `${method} ${type}`);
      }
      const nothing = await api.call(method, path);
      assert.deepEqual([nothing.status, errorCode(nothing)], [415, "unsupported_media_type"], `${method} without a body`);
    }
    assert.deepEqual((await api.call("GET", "/users/u1")).body, before);
    assert.equal((await api.call<{ total: number }>("GET", "/users")).body.total, 1);
    const json = await api.call("PATCH", "/users/u1", {
      raw: '{"name":"Sent as JSON"}',
      headers: { "content-type": "Application/JSON; charset=utf-8" },
    });
    assert.equal(json.status, 200);
  });

  it("creates in the caller's organisation only", async (t) => {
    const api = await startApi(t);
    const answer = await api.call("POST", "/users", { json: { email: "n@example.test", name: "N", orgId: "org_2" } });
    assert.deepEqual([answer.status, errorCode(answer)], [403, "forbidden"]);
  });

  it("is still there after a restart, in the file that DATABASE_URL names", async (t) => {
    const directory = await mkdtemp(join(tmpdir(), "legacy-api-"));
    t.after(() => rm(directory, { recursive: true }));
    const databaseUrl = `file:${join(directory, "kept.db")}`;
    await t.test("first run", async (run) => {
      await (await startApi(run, { databaseUrl })).create({ id: "u1", name: "Kept" });
    });
    const again = await startApi(t, { databaseUrl });
    assert.equal((await again.call<User>("GET", "/users/u1")).body.name, "Kept");
    const database = createClient({ url: databaseUrl });
    t.after(() => database.close());
    const { rows } = await database.execute("SELECT name FROM users");
    assert.deepEqual(rows.map((row) => row.name), ["Kept"]);
  });
});

describe("roles", () => {
  const expected: Record<string, [create: number, update: number, remove: number, read: number]> = {
    admin: [201, 200, 204, 200],
    member: [201, 200, 403, 200],
    viewer: [403, 403, 403, 200],
    "something-new": [403, 403, 403, 200],
  };
  for (const [role, statuses] of Object.entries(expected)) {
    it(`${role}: create, update, delete, read`, async (t) => {
      const api = await startApi(t);
      await api.create({ id: "u1" });
      const token = await session({ role });
      const json = { id: "u2", email: "u2@example.test", name: "Two" };
      const read = await api.call("GET", "/users/u1", { token });
      const create = await api.call("POST", "/users", { token, json });
      const update = await api.call("PATCH", "/users/u1", { token, json: { name: "New" } });
      const remove = await api.call("DELETE", "/users/u1", { token });
      assert.deepEqual([create.status, update.status, remove.status, read.status], statuses);
    });
  }
});

describe("Idempotency-Key", () => {
  const json = { email: "n@example.test", name: "Once" };
  const headers = { "idempotency-key": "key-1" };

  it("answers a repeated create with the first answer", async (t) => {
    const api = await startApi(t);
    const first = await api.call<User>("POST", "/users", { json, headers });
    await api.call("PATCH", `/users/${first.body.id}`, { json: { name: "Changed since" } });
    const second = await api.call<User>("POST", "/users", { json, headers });
    assert.deepEqual([second.status, second.body], [201, first.body]);
    assert.equal(second.headers.get("idempotency-replayed"), "true");
    assert.equal(first.headers.get("idempotency-replayed"), null);
  });

  it("creates one user when many equal requests come at once", async (t) => {
    const api = await startApi(t);
    const answers = await Promise.all(Array.from({ length: 10 }, () => api.call<User>("POST", "/users", { json, headers })));
    assert.deepEqual(answers.map(({ status }) => status), Array.from({ length: 10 }, () => 201));
    assert.equal(new Set(answers.map(({ body }) => body.id)).size, 1);
    assert.equal((await api.call<{ total: number }>("GET", "/users")).body.total, 1);
  });

  it("is refused with another body, and belongs to one caller", async (t) => {
    const api = await startApi(t);
    await api.call("POST", "/users", { json, headers });
    const other = await api.call("POST", "/users", { json: { ...json, name: "Other" }, headers });
    assert.deepEqual([other.status, errorCode(other)], [422, "idempotency_key_reused"]);
    const someoneElse = await api.call("POST", "/users", {
      token: await session({ userId: "user_bob" }),
      json: { ...json, email: "b@example.test" },
      headers,
    });
    assert.equal(someoneElse.status, 201);
  });

  it("does not remember a refusal", async (t) => {
    const api = await startApi(t);
    const blocker = await api.create({ email: json.email });
    assert.equal((await api.call("POST", "/users", { json, headers })).status, 409);
    await api.call("DELETE", `/users/${blocker.id}`);
    assert.equal((await api.call("POST", "/users", { json, headers })).status, 201);
  });
});
