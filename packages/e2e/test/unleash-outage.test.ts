import assert from "node:assert/strict";
import { test } from "node:test";
import { UnleashStandIn, type Answering } from "../src/harness/unleash-stand-in.js";
import type { FlagsStatus } from "../src/harness/crossfade.js";
import type { SyncClient } from "../src/harness/sync-client.js";
import { waitFor } from "../src/harness/wait.js";
import { ADA, BOB, step, withWorld, type World } from "../src/harness/world.js";

/** So many polls in a row have to fail before it is looked whether anything has changed. */
const FAILURES = 3;

interface Outage {
  readonly what: string;
  /** What the server answers; undefined: it is down. */
  readonly answering?: Answering;
  /** What the admin API says of it. */
  readonly says: RegExp;
}

const json = (text: string): Answering => ({ kind: "text", status: 200, type: "application/json", text });

const OUTAGES: readonly Outage[] = [
  { what: "it is down", says: /Unleash server/ },
  { what: "it has lost its toggles", answering: json('{"version":2,"features":[]}'), says: /no toggle at all/ },
  { what: "it answers what is no JSON", answering: json('{"version":2,"features":['), says: /Unleash server/ },
  { what: "it answers JSON of another shape", answering: json('{"data":[],"total":0}'), says: /Unleash server/ },
  { what: "it answers toggles of another shape", answering: json('{"version":2,"features":[{"flag":"crossfade.enabled"}]}'), says: /Unleash server/ },
  { what: "it answers an empty body", answering: json(""), says: /Unleash server/ },
  {
    what: "a proxy before it answers HTML with 200",
    answering: { kind: "text", status: 200, type: "text/html", text: "<!doctype html><title>Sign in</title>" },
    says: /Unleash server/,
  },
  { what: "it answers 500", answering: { kind: "text", status: 500, type: "text/plain", text: "oops" }, says: /status 500/ },
  { what: "it takes the token for a stranger's", answering: { kind: "text", status: 401, type: "text/plain", text: "" }, says: /status 401: check `token`/ },
  { what: "it hangs", answering: { kind: "nothing" }, says: /Unleash server/ },
  { what: "its answer breaks off", answering: { kind: "half" }, says: /Unleash server/ },
];

interface Cast {
  readonly world: World;
  readonly unleash: UnleashStandIn;
  readonly ada: SyncClient;
}

test("whatever an Unleash server does or fails to do, stages hold, and follow again when it is well", { timeout: 300_000 }, async (t) => {
  const unleash = await UnleashStandIn.start();
  await withWorld({ flags: async () => unleash }, async (world) => {
    await world.fillStore();
    await unleash.set({ cohortPercent: 100 });
    await world.crossfade.moveTo("live");
    await storeAnswers(world);
    const cast = { world, unleash, ada: await world.syncClient(ADA) };
    await world.untilSettled([cast.ada]);
    for (const outage of OUTAGES) {
      await step(t, `${outage.what}: nothing changes`, () => nothingChanges(cast, outage));
      await step(t, `${outage.what}, and is well again: stages follow`, () => stagesFollow(cast));
    }
    await step(t, "it is down when crossfade starts: the last known stage holds", () => downAtTheStart(cast));
    await step(t, "it comes at last: stages follow", () => stagesFollow(cast));
    await step(t, "a single toggle that is taken out is gone, and the stage stays", () => oneToggleLess(cast));
  });
});

async function storeAnswers(world: World): Promise<void> {
  await waitFor("the store to answer", async () => (await world.restClient(BOB).list()).origin === "sync");
}

async function begin(unleash: UnleashStandIn, { answering }: Outage): Promise<void> {
  if (answering === undefined) await unleash.stop();
  else unleash.answering = answering;
}

/** The same from both endpoints that tell it. */
async function flagsStatus({ crossfade }: World): Promise<FlagsStatus> {
  const { status, ready, flags } = await crossfade.readiness();
  assert.deepEqual([status, ready], [200, true], "flags that cannot be read are no reason to get no requests");
  const { flags: again } = await crossfade.status();
  assert.ok(again.documents >= flags.documents && again.failures >= flags.failures);
  return again;
}

async function nothingChanges({ world, unleash, ada }: Cast, outage: Outage): Promise<void> {
  const { crossfade } = world;
  const rest = world.restClient(BOB);
  const before = { list: await rest.list({ limit: 100 }), one: await rest.get("u1"), flags: await flagsStatus(world) };
  assert.deepEqual([before.list.origin, before.flags.last_error], ["sync", null]);

  await begin(unleash, outage);
  // Asked for now, it would come with the next document.
  await unleash.set({ stage: "off", enabled: false });
  await waitFor("polls to fail", async () => {
    const { flags } = await crossfade.readiness();
    return flags.failures >= before.flags.failures + FAILURES && flags.last_error !== null;
  }, () => crossfade.log());
  const { resources, flags, rollback } = await crossfade.status();
  assert.match(flags.last_error ?? "", outage.says);
  assert.equal((await crossfade.readiness()).flags.last_error, flags.last_error);
  assert.doesNotMatch(flags.last_error ?? "", /crossfade-e2e-stand-in/, "the token is not told");
  const [stage] = resources;
  assert.deepEqual([stage?.requested, stage?.effective, stage?.because.reason], ["live", "live", "flags"]);
  assert.ok(Object.values(rollback).every(({ state }) => state !== "tripped"), JSON.stringify(rollback));

  // Answered as before, by whom it was before.
  assert.deepEqual(await rest.list({ limit: 100 }), before.list);
  assert.deepEqual(await rest.get("u1"), before.one);
  await bothWays(world, ada);
  assert.deepEqual(ada.closes, []);
  assert.equal((await flagsStatus(world)).documents, flags.documents, "none of it was taken for a document");
}

/** A write of each side reaches the other. */
async function bothWays(world: World, ada: SyncClient): Promise<void> {
  const age = Number(ada.user("u3")?.age ?? 0) + 1;
  ada.edit("u3", "age", age);
  await waitFor("the edit to reach legacy", async () => (await world.legacy.row(ADA, "u3"))?.age === age);
  await world.restClient(BOB).update("u4", { age });
  await waitFor("the REST write to reach the client", () => ada.user("u4")?.age === age);
}

async function stagesFollow({ world, unleash }: Cast): Promise<void> {
  const { crossfade } = world;
  unleash.answering = { kind: "document" };
  await unleash.set({ stage: "shadow", enabled: true });
  await unleash.stop();
  await unleash.startAgain();
  await crossfade.untilIn("shadow");
  assert.equal((await flagsStatus(world)).last_error, null);
  await crossfade.moveTo("live");
  await storeAnswers(world);
}

async function downAtTheStart({ world, unleash, ada }: Cast): Promise<void> {
  const { crossfade } = world;
  const body = (await world.restClient(BOB).list({ limit: 100 })).body;
  await unleash.stop();
  await crossfade.kill();
  await crossfade.restart();
  await waitFor("polls to fail", async () => (await crossfade.readiness()).flags.failures >= FAILURES);
  const { documents, age_ms: age, last_error: error } = await flagsStatus(world);
  assert.deepEqual([documents, age], [0, null]);
  assert.match(error ?? "", /Unleash server/);
  const [stage] = await crossfade.stages();
  assert.deepEqual([stage?.requested, stage?.effective, stage?.because], [null, "live", { reason: "last-known", detail: "no-document" }]);
  // Who is in the cohort is not known: the API answers, and the same.
  const answer = await world.restClient(BOB).list({ limit: 100 });
  assert.deepEqual([answer.origin, answer.body], ["legacy", body]);
  await waitFor("the client to be back", () => ada.connected);
  await bothWays(world, ada);
}

async function oneToggleLess({ world, unleash }: Cast): Promise<void> {
  const { crossfade } = world;
  unleash.answering = json('{"version":2,"features":[{"name":"another","enabled":true}]}');
  await waitFor("the document to be taken", async () => (await crossfade.stages())[0]?.because.reason === "last-known");
  const [stage] = await crossfade.stages();
  assert.deepEqual([stage?.effective, stage?.because], ["live", { reason: "last-known", detail: "absent" }]);
  assert.equal((await flagsStatus(world)).last_error, null);
  assert.equal((await world.restClient(BOB).list()).origin, "legacy", "nobody is in a cohort that is not there");
}
