import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, it, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import type { User, UserPage } from "../src/user.js";
import { client, publicKey, session, startApi } from "./support.js";

const PACKAGE = fileURLToPath(new URL("..", import.meta.url));

describe("faults", () => {
  it("cannot be switched on unless the settings allow it", async (t) => {
    const api = await startApi(t);
    assert.equal((await api.call("PUT", "/__faults", { json: {} })).status, 404);
    assert.equal((await api.call("GET", "/__stats")).status, 404);
  });

  it("falsify a field in answers to GET, and nothing else", async (t) => {
    const api = await startApi(t, { faultsAllowed: true });
    const user = await api.create({ id: "u1", name: "Ada" });
    await api.call("PUT", "/__faults", { json: { wrongField: { field: "name", value: "WRONG" } } });
    assert.deepEqual((await api.call("GET", "/users/u1")).body, { ...user, name: "WRONG" });
    assert.deepEqual((await api.call<UserPage>("GET", "/users")).body.data, [{ ...user, name: "WRONG" }]);
    assert.equal((await api.call("GET", "/users/none")).status, 404);
    assert.equal((await api.call<User>("PATCH", "/users/u1", { json: { age: 1 } })).body.name, "Ada");
    await api.call("PUT", "/__faults", { json: { wrongField: null } });
    assert.equal((await api.call<User>("GET", "/users/u1")).body.name, "Ada");
  });

  it("hide rows from one user, in lists and by themselves", async (t) => {
    const api = await startApi(t, { faultsAllowed: true });
    await api.create({ id: "u1" });
    const shown = await api.create({ id: "u2" });
    const hide = async (from: string) => api.call("PUT", "/__faults", { json: { hideRows: { from, ids: ["u1"] } } });
    await hide("somebody_else");
    assert.equal((await api.call("GET", "/users/u1")).status, 200);
    await hide("user_ada");
    assert.equal((await api.call("GET", "/users/u1")).status, 404);
    const { data, total } = (await api.call<UserPage>("GET", "/users")).body;
    assert.deepEqual([data, total], [[shown], 1]);
    assert.equal((await api.call<User>("PATCH", "/users/u1", { json: { age: 1 } })).status, 200);
  });

  it("answer 503 without doing anything, but stay healthy", async (t) => {
    const api = await startApi(t, { faultsAllowed: true });
    await api.create({ id: "u1" });
    await api.call("PUT", "/__faults", { json: { status: 503 } });
    assert.equal((await api.call("DELETE", "/users/u1")).status, 503);
    assert.equal((await api.call("GET", "/healthz")).status, 200);
    await api.call("PUT", "/__faults", { json: {} });
    assert.equal((await api.call("GET", "/users/u1")).status, 200);
  });

  it("are refused when they are not known", async (t) => {
    const api = await startApi(t, { faultsAllowed: true });
    assert.equal((await api.call("PUT", "/__faults", { json: { explode: true } })).status, 422);
    assert.equal((await api.call("PUT", "/__faults", { raw: "{" })).status, 400);
  });

  it("come with a count of requests by purpose, in bounded memory", async (t) => {
    const api = await startApi(t, { faultsAllowed: true });
    const get = (purpose?: string) =>
      api.call("GET", "/users", { headers: purpose === undefined ? {} : { "crossfade-purpose": purpose } });
    await get();
    await get("comparison");
    await get("comparison");
    for (let n = 0; n < 40; n += 1) await get(`purpose-${n}`);
    const { requests } = (await api.call<{ requests: Record<string, number> }>("GET", "/__stats")).body;
    assert.deepEqual([requests.none, requests.comparison, requests["purpose-0"]], [1, 2, 1]);
    assert.equal(Object.keys(requests).length, 33);
    assert.equal(requests.other, 10);
  });
});

describe("OpenAPI", () => {
  it("describes the routes that exist", async (t) => {
    const api = await startApi(t);
    const { status, body } = await api.call<{
      openapi: string;
      paths: Record<string, Record<string, { parameters?: { name: string }[] }>>;
      components: { schemas: Record<string, { properties: object }> };
    }>("GET", "/openapi.json", { token: null });
    assert.equal(status, 200);
    assert.equal(body.openapi, "3.1.0");
    const operations = Object.entries(body.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method} ${path}`),
    );
    assert.deepEqual(operations.sort(), [
      "delete /users/{id}", "get /users", "get /users/me", "get /users/{id}", "patch /users/{id}", "post /users",
    ]);
    const parameters = body.paths["/users"]?.get?.parameters?.map(({ name }) => name);
    assert.deepEqual(parameters, ["orgId", "email", "role", "roles", "active", "minAge", "maxAge", "q", "sort", "limit", "offset"]);
    const user = await api.create({ id: "u1" });
    assert.deepEqual(Object.keys(body.components.schemas.User?.properties ?? {}).sort(), Object.keys(user).sort());
  });
});

describe("the process", () => {
  it("says where it serves, finishes what is under way on SIGTERM, and exits 0", async (t) => {
    const { child, stdout } = await startProcess(t, {});
    const [line] = (await once(createInterface(stdout), "line")) as [string];
    const ready = JSON.parse(line) as { ready: boolean; port: number };
    assert.equal(ready.ready, true);

    const api = client(ready.port);
    await api.call("PUT", "/__faults", { json: { delayMs: 300 } });
    const counted = async () => (await api.call<{ requests: { none?: number } }>("GET", "/__stats")).body.requests.none;
    const slow = api.call("GET", "/users", { token: await session() });
    while ((await counted()) === undefined) await new Promise(setImmediate);
    child.kill("SIGTERM");
    assert.equal((await slow).status, 200);
    assert.deepEqual(await exit(child), { code: 0, signal: null });
    await assert.rejects(api.call("GET", "/healthz"));
  });

  const wrong: [what: string, env: Record<string, string>, said: RegExp][] = [
    ["no key", { CLERK_JWT_KEY: "" }, /CLERK_JWT_KEY/],
    ["a bad port", { PORT: "http" }, /PORT is "http"/],
    ["a short service credential", { CROSSFADE_SERVICE_TOKEN: "short" }, /CROSSFADE_SERVICE_TOKEN/],
  ];
  for (const [what, env, said] of wrong) {
    it(`exits 2 and names the setting: ${what}`, async (t) => {
      const { child, stderr } = await startProcess(t, env);
      const chunks: Buffer[] = [];
      stderr.on("data", (chunk: Buffer) => chunks.push(chunk));
      assert.deepEqual(await exit(child), { code: 2, signal: null });
      assert.match(Buffer.concat(chunks).toString(), said);
    });
  }

  it("exits 1 when the port is taken", async (t) => {
    const blocker = createServer().listen(0, "127.0.0.1");
    await once(blocker, "listening");
    t.after(() => blocker.close());
    const { port } = blocker.address() as { port: number };
    const { child } = await startProcess(t, { PORT: String(port) });
    assert.deepEqual(await exit(child), { code: 1, signal: null });
  });
});

async function startProcess(t: TestContext, env: Record<string, string>) {
  const directory = await mkdtemp(join(tmpdir(), "legacy-api-"));
  const child = spawn(process.execPath, ["--import", "tsx", "src/main.ts"], {
    cwd: PACKAGE,
    env: {
      PATH: process.env.PATH,
      PORT: "0",
      DATABASE_URL: `file:${join(directory, "users.db")}`,
      CLERK_JWT_KEY: publicKey(),
      LEGACY_API_FAULTS: "1",
      ...env,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  t.after(async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill("SIGKILL");
      await once(child, "exit");
    }
    await rm(directory, { recursive: true });
  });
  return { child, stdout: child.stdout, stderr: child.stderr };
}

async function exit(child: ReturnType<typeof spawn>): Promise<{ code: number | null; signal: string | null }> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  return { code: child.exitCode, signal: child.signalCode };
}
