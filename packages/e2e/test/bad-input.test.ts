import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { createClient } from "@libsql/client";
import { equal } from "../src/harness/equal.js";
import { RawClient } from "../src/harness/raw-client.js";
import { waitFor } from "../src/harness/wait.js";
import { ADA, BOB, step, withWorld, type World } from "../src/harness/world.js";

/** Exit codes of the binary. */
const USAGE = 2;
const DEPENDENCY = 3;

interface WrongConfig {
  readonly what: string;
  readonly change: (toml: string) => string;
  /** How the line starts that the message has to point at. */
  readonly line: string;
  readonly key: string;
  /** What is wrong, and what to do about it. */
  readonly says: RegExp;
}

const WRONG_CONFIGS: readonly WrongConfig[] = [
  {
    what: "an unknown key",
    change: (toml) => toml.replace('[legacy]\n', '[legacy]\nretires = 3\n'),
    line: "retires",
    key: "legacy.retires",
    says: /unknown key `retires`/,
  },
  {
    what: "an unknown key that is nearly one",
    change: (toml) => toml.replace("tie_breaker =", "tie_braker ="),
    line: "tie_braker",
    key: "resource[users].query.sort.tie_braker",
    says: /did you mean `tie_breaker`\?/,
  },
  {
    what: "a URL of another protocol",
    change: (toml) => toml.replace(/^url = "http:/m, 'url = "ftp:'),
    line: 'url = "ftp:',
    key: "legacy.url",
    says: /http/,
  },
  {
    what: "a URL that is none",
    change: (toml) => toml.replace(/^url = "http:.*$/m, 'url = "the users api"'),
    line: 'url = "the users api"',
    key: "legacy.url",
    says: /URL/,
  },
  {
    what: "a route that is mapped twice",
    change: (toml) => toml.replace('update = "PATCH /users/{id}"', 'update = "DELETE /users/{id}"'),
    line: 'delete = "DELETE',
    key: "resource[users].routes.delete",
    says: /is taken by/,
  },
];

test("what is not as it should be is told, and harms nothing", { timeout: 240_000 }, async (t) => {
  await withWorld({ responseTimeoutMs: 1_000 }, async (world) => {
    for (const wrong of WRONG_CONFIGS) {
      await step(t, `configuration: ${wrong.what}`, () => configIsRefused(world, wrong));
    }
    await step(t, "configuration: a password in a URL is not repeated", () => passwordIsNotTold(world));
    await world.fillStore();
    await step(t, "a frame that is no message closes its own connection only", () => badFrames(world));
    await step(t, "a write that is not JSON gets legacy's own answer, and the store stays", () => badBodies(world));
    await step(t, "a flag file that turns bad: the last state stays, and is explained", () => badFlagsWhileRunning(world));
    await step(t, "legacy down: 502", () => legacyDown(world));
    await step(t, "legacy hanging: 504, and a write whose outcome is open is looked up", () => legacyHangs(world));
    await world.crossfade.stop();
    await step(t, "a flag file that is bad at the start", () => badFlagsAtStart(world));
    await step(t, "a database from a newer version is refused and not touched", () => newerDatabase(world));
    await step(t, "recordings from a newer version are refused and not touched", () => newerRecordings(world));
    await step(t, "none of it was kept: it serves again, with everything", () => servesAgain(world));
  });
});

async function configIsRefused({ crossfade }: World, { change, line, key, says }: WrongConfig): Promise<void> {
  const { code, stderr, stdout, toml } = await crossfade.failToServe(change);
  assert.equal(code, USAGE, stderr);
  const number = toml.split("\n").findIndex((text) => text.startsWith(line)) + 1;
  assert.ok(number > 0, `the change has made a line that starts with ${line}`);
  assert.ok(stderr.includes(`changed.toml:${number}:`), `line ${number} in: ${stderr}`);
  assert.ok(stderr.includes(`: ${key}`), stderr);
  assert.match(stderr, says);
  assert.equal(stdout, "", "it never said that it is ready");
}

async function passwordIsNotTold({ crossfade }: World): Promise<void> {
  const { code, stderr } = await crossfade.failToServe((toml) =>
    toml.replace(/^url = "http:\/\//m, 'url = "http://operator:hunter2@'),
  );
  assert.equal(code, USAGE, stderr);
  assert.match(stderr, /legacy\.url/);
  assert.ok(!stderr.includes("hunter2"), stderr);
}

const BAD_FRAMES: readonly (string | Uint8Array)[] = [
  "no line end",
  "\nno JSON",
  "\n{}",
  '\n["id",1]',
  '\n["id",99,""]',
  '\n["id",3,"not a change"]',
  '\n["id",2,["not a hash",0]]',
  Buffer.from([0xff, 0xfe, 0x00]),
];

async function badFrames(world: World): Promise<void> {
  const ada = await world.syncClient(ADA);
  const bob = await world.syncClient(BOB);
  await waitFor("the rows to be there", () => equal(ada.users(), bob.users()) && ada.user("u1") !== undefined);
  const before = ada.store.getMergeableContent();
  for (const frame of BAD_FRAMES) {
    const raw = await RawClient.connect(await world.openSync(BOB));
    raw.sendRaw(frame);
    assert.deepEqual(await raw.untilClosed(), { code: 1007, reason: "tinybase:14" }, String(frame));
  }
  assert.deepEqual(ada.store.getMergeableContent(), before);
  bob.edit("u3", "age", 33);
  await waitFor("an edit after all of them", () => ada.user("u3")?.age === 33);
  assert.deepEqual([ada.closes, bob.closes], [[], []]);
  await world.untilSettled([ada, bob]);
  await ada.disconnect();
  await bob.disconnect();
}

async function badBodies(world: World): Promise<void> {
  const { crossfade, legacy, issuer } = world;
  const ada = await world.syncClient(ADA);
  await world.untilSettled([ada]);
  const before = ada.store.getMergeableContent();
  const authorization = `Bearer ${await issuer.session(ADA)}`;
  const ask = async (base: string, method: string, path: string, type: string, body: string) => {
    const response = await fetch(`${base}${path}`, { method, headers: { authorization, "content-type": type }, body });
    return { status: response.status, type: response.headers.get("content-type"), body: await response.text() };
  };
  const bodies = [
    ["application/json", '{"name":', 400],
    ["application/json", "\u0000\uFFFD", 400],
    ["text/plain", "name=Ada", 415],
    ["application/json", '"a string"', 422],
    ["application/json", '{"name":7}', 422],
  ] as const;
  for (const [method, path] of [["POST", "/users"], ["PATCH", "/users/u1"]] as const) {
    for (const [type, body, status] of bodies) {
      const answer = await ask(crossfade.url, method, path, type, body);
      assert.equal(answer.status, status, `${method} ${body}`);
      assert.deepEqual(answer, await ask(legacy.url, method, path, type, body), `${method} ${body}`);
    }
  }
  // The server mirrors writes after their answers: one that is sent later is mirrored by now.
  await world.restClient(ADA).update("u2", { age: 51 });
  await waitFor("a good write after them", () => ada.user("u2")?.age === 51);
  const rows = (content: ReturnType<typeof ada.store.getMergeableContent>) => Object.keys(content[0][0].users?.[0] ?? {});
  assert.deepEqual(rows(ada.store.getMergeableContent()), rows(before));
  await world.untilSettled([ada]);
  await ada.disconnect();
}

async function badFlagsWhileRunning(world: World): Promise<void> {
  const { crossfade, flags } = world;
  const file = join(world.directory, "flags.json");
  await crossfade.moveTo("shadow");
  for (const bad of ['{"version": 2,', "off", '{"version": 2}', ""]) {
    const failures = (await crossfade.status()).flags.failures;
    await writeFile(file, bad);
    const status = await waitFor("the bad file to be noticed", async () => {
      const now = await crossfade.status();
      return now.flags.failures > failures && now.flags.last_error !== null ? now : undefined;
    });
    assert.match(status.flags.last_error ?? "", /flags\.json.*line \d+/s, bad);
    assert.deepEqual(status.resources.map(({ effective }) => effective), ["shadow"], bad);
    assert.deepEqual(status.rollback, {}, "a file that cannot be read never rolls back");
    assert.equal((await world.restClient(ADA).list()).origin, "legacy");
  }
  await flags.set({ stage: "dualwrite" });
  await crossfade.untilIn("dualwrite");
  assert.equal((await crossfade.status()).flags.last_error, null);
}

async function legacyDown(world: World): Promise<void> {
  const { crossfade, legacy } = world;
  await legacy.kill();
  for (const [method, path, body] of REQUESTS) {
    await assertProblem(world, method, path, body, 502, "upstream-unreachable", legacy.url);
  }
  assert.equal((await crossfade.stages())[0]?.effective, "dualwrite");
  await legacy.restart();
  assert.equal((await world.restClient(ADA).get("u1")).body.id, "u1");
}

/** Of a mapped read, a mapped write, and two that are not mapped. */
const REQUESTS = [
  ["GET", "/users", undefined],
  ["PATCH", "/users/u1", '{"name":"Nobody will know"}'],
  ["GET", "/healthz", undefined],
  ["POST", "/elsewhere?token=secret", "anything"],
] as const;

async function assertProblem(
  world: World,
  method: string,
  path: string,
  body: string | undefined,
  status: number,
  kind: string,
  names: string,
): Promise<void> {
  const authorization = `Bearer ${await world.issuer.session(ADA)}`;
  const response = await fetch(`${world.crossfade.url}${path}`, {
    method,
    headers: { authorization, ...(body === undefined ? {} : { "content-type": "application/json" }) },
    body: body ?? null,
  });
  assert.equal(response.status, status, `${method} ${path}`);
  assert.match(response.headers.get("content-type") ?? "", /^application\/problem\+json/);
  assert.equal(response.headers.get("crossfade-error"), kind);
  const text = await response.text();
  const problem = JSON.parse(text) as Record<string, unknown>;
  assert.deepEqual([problem.status, problem.type], [status, `urn:crossfade:problem:${kind}`]);
  for (const member of ["title", "detail", "remedy"]) {
    assert.ok(typeof problem[member] === "string" && problem[member] !== "", `${member} of ${text}`);
  }
  assert.ok(String(problem.detail).includes(names), text);
  assert.ok(!text.includes("secret"), text);
}

async function legacyHangs(world: World): Promise<void> {
  const { crossfade, legacy } = world;
  const ada = await world.syncClient(ADA);
  await waitFor("the row to be there", () => ada.user("u4") !== undefined);
  // Longer than crossfade waits for an answer, shorter than it waits for a row that it reads again.
  await legacy.setFaults({ delayMs: 2_000 });
  await assertProblem(world, "GET", "/users", undefined, 504, "upstream-timeout", legacy.url);
  await assertProblem(world, "PATCH", "/users/u4", '{"name":"Done all the same"}', 504, "upstream-timeout", legacy.url);
  const done = await waitFor("legacy to have done it", async () => {
    const row = await legacy.row(ADA, "u4");
    return row?.name === "Done all the same" ? row : undefined;
  });
  await waitFor("the store to have looked", () => equal(ada.user("u4"), done), () => ada.user("u4"));
  await legacy.setFaults({});
  assert.equal((await crossfade.outbox()).pending, 0, "what legacy did itself is not owed to it");
  assert.equal((await world.restClient(ADA).get("u4")).body.name, "Done all the same");
  await world.untilSettled([ada]);
  await ada.disconnect();
}

async function badFlagsAtStart(world: World): Promise<void> {
  const file = join(world.directory, "flags.json");
  const good = await readFile(file);
  for (const [bad, says] of [['{"version": 2,\n\n', /line 3/], ['{"version":"x"}', /version/]] as const) {
    await writeFile(file, bad);
    const { code, stderr } = await world.crossfade.failToServe();
    assert.equal(code, USAGE, stderr);
    assert.match(stderr, /flags\.json/);
    assert.match(stderr, says);
    assert.match(stderr, /\/api\/client\/features/, "the remedy");
  }
  await writeFile(file, good);
}

async function newerDatabase(world: World): Promise<void> {
  const file = join(world.directory, "crossfade.db");
  const setVersion = (version: string) =>
    onDatabase(file, `UPDATE crossfade_control SET value = '${version}' WHERE key = 'schema_version'`);
  const own = await onDatabase(file, "SELECT value FROM crossfade_control WHERE key = 'schema_version'");
  await setVersion("1000");
  await assertUntouched(world, file, /newer/);
  await setVersion(String(own));
}

async function newerRecordings(world: World): Promise<void> {
  const file = join(world.directory, "crossfade-recordings.db");
  const own = await onDatabase(file, "PRAGMA user_version");
  await onDatabase(file, "PRAGMA user_version = 1000");
  await assertUntouched(world, file, /newer/);
  await onDatabase(file, `PRAGMA user_version = ${String(own)}`);
}

async function assertUntouched(world: World, file: string, says: RegExp): Promise<void> {
  const before = await readFile(file);
  const { code, stderr } = await world.crossfade.failToServe();
  assert.equal(code, DEPENDENCY, stderr);
  assert.match(stderr, says);
  assert.ok(stderr.includes(file), stderr);
  assert.ok(before.equals(await readFile(file)), "every byte is as before");
}

/** Runs one statement past crossfade, which must not be running, and gives the first value of the answer. */
async function onDatabase(file: string, statement: string): Promise<unknown> {
  const database = createClient({ url: `file:${file}` });
  try {
    return (await database.execute(statement)).rows[0]?.[0];
  } finally {
    database.close();
  }
}

async function servesAgain(world: World): Promise<void> {
  await world.crossfade.restart();
  const ada = await world.syncClient(ADA);
  await world.untilSettled([ada]);
  assert.ok((await world.restClient(ADA).list()).body.total >= 4);
}
