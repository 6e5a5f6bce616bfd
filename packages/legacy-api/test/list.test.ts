import assert from "node:assert/strict";
import { before, describe, it, after, type TestContext } from "node:test";
import type { UserPage } from "../src/user.js";
import { errorCode, ids, session, startApi, type Api } from "./support.js";

describe("GET /users", () => {
  let api: Api;
  const cleanups: (() => Promise<void> | void)[] = [];

  before(async () => {
    api = await startApi({ after: (f: () => Promise<void>) => cleanups.push(f) } as unknown as TestContext);
    await api.create({ id: "a", name: "Ada", role: "admin", age: 36, active: true });
    await api.create({ id: "b", name: "bob", role: "member", age: null, active: true });
    await api.create({ id: "c", name: "Cleo", role: "viewer", age: 20, active: false });
    await api.create({ id: "d", name: "Zoë 100%", role: "member", age: 36, active: true });
    await api.create({ id: "e", name: "émile_x", role: "member", age: 52, active: false });
    await api.create({ id: "x", name: "Other", role: "admin", age: 36 }, { orgId: "org_2" });
  });
  after(async () => {
    for (const cleanup of cleanups) await cleanup();
  });

  const list = (query: string) => api.call<UserPage>("GET", `/users${query}`);
  const cases: [what: string, query: string, expected: string[]][] = [
    ["by id unless told otherwise, one organisation only", "", ["a", "b", "c", "d", "e"]],
    ["role", "?role=member", ["b", "d", "e"]],
    ["any of several roles", "?roles=admin,viewer", ["a", "c"]],
    ["active", "?active=true", ["a", "b", "d"]],
    ["not active", "?active=false", ["c", "e"]],
    ["an age from", "?minAge=36", ["a", "d", "e"]],
    ["an age up to, which a missing age never is", "?maxAge=36", ["a", "c", "d"]],
    ["an age range", "?minAge=21&maxAge=40", ["a", "d"]],
    ["part of a name in either case", "?q=O", ["b", "c", "d"]],
    ["letters beyond ASCII keep their case", "?q=%C3%89mile", []],
    ["a per cent sign is itself", "?q=%25", ["d"]],
    ["an underscore is itself", "?q=_", ["e"]],
    ["a backslash is itself", "?q=%5C", []],
    ["an empty part is in every name", "?q=", ["a", "b", "c", "d", "e"]],
    ["all filters together", "?role=member&active=true&minAge=30", ["d"]],
    ["missing ages first, ties by id", "?sort=age", ["b", "c", "a", "d", "e"]],
    ["missing ages last when turned round, ties still by id", "?sort=-age", ["e", "a", "d", "c", "b"]],
    ["several keys", "?sort=-age,-name", ["e", "d", "a", "c", "b"]],
    ["names by code point: capitals before small letters", "?sort=name", ["a", "c", "d", "b", "e"]],
    ["roles as text", "?sort=role,-email", ["a", "e", "d", "b", "c"]],
    ["another organisation asked for by a user gives nothing", "?orgId=org_2", []],
  ];
  for (const [what, query, expected] of cases) {
    it(what, async () => {
      const answer = await list(query);
      assert.equal(answer.status, 200);
      assert.deepEqual(ids(answer), expected);
      assert.equal(answer.body.total, expected.length);
    });
  }

  it("pages, with the total of all pages", async () => {
    const answer = await list("?sort=-name&limit=2&offset=1");
    assert.deepEqual(ids(answer), ["b", "d"]);
    const { total, limit, offset } = answer.body;
    assert.deepEqual({ total, limit, offset }, { total: 5, limit: 2, offset: 1 });
    assert.deepEqual(ids(await list("?offset=99")), []);
  });

  it("says the limit that holds when none was given", async () => {
    const { limit, offset } = (await list("")).body;
    assert.deepEqual({ limit, offset }, { limit: 20, offset: 0 });
  });

  for (const query of [
    "?role=owner", "?roles=admin,owner", "?roles=", "?active=yes", "?minAge=old", "?minAge=1.5", "?sort=id", "?sort=",
    "?sort=name,,age", "?limit=0", "?limit=101", "?limit=x", "?offset=-1", "?q=%00", "?role=admin&role=member",
  ]) {
    it(`refuses ${query}`, async () => {
      const answer = await list(query);
      assert.equal(answer.status, 422);
      assert.equal(errorCode(answer as never), "validation_failed");
    });
  }

  it("ignores a parameter that it does not know", async () => {
    assert.equal((await list("?utm=1")).body.total, 5);
  });

  it("shows another organisation its own users", async () => {
    const answer = await api.call<UserPage>("GET", "/users", { token: await session({ orgId: "org_2" }) });
    assert.deepEqual(ids(answer), ["x"]);
  });
});
