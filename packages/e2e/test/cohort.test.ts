import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { Unleash } from "unleash-client";
import type { Crossfade } from "../src/harness/crossfade.js";
import { FLAG } from "../src/harness/flags.js";
import { UnleashFlags } from "../src/harness/unleash.js";
import { waitFor } from "../src/harness/wait.js";
import { ADA, EVE, withWorld } from "../src/harness/world.js";

const PERCENT = 37;
/** Ids as Clerk makes them. */
const USERS = Array.from({ length: 10_000 }, (_, i) => `user_${(i * 7_919).toString(36)}`);
/** Unleash's client for Node hashes characters beyond ASCII by their lowest byte alone, as its other clients do not. */
const BEYOND_ASCII = Array.from({ length: 500 }, (_, i) => `Zoë ${i} 🦊`);
const ALL = [...USERS, ...BEYOND_ASCII];

test("10,000 users fall into the same cohort by file, by server, and by Unleash's own client", { timeout: 300_000 }, async () => {
  let byFile: string[] = [];
  await withWorld({}, async ({ flags, crossfade }) => {
    const nobody = await crossfade.cohort(ALL);
    assert.deepEqual(nobody, []);
    await flags.set({ cohortPercent: PERCENT });
    byFile = await changed(crossfade);
  });
  // Ten standard deviations: a hash that is not even would show.
  assert.ok(Math.abs(byFile.length - ALL.length * (PERCENT / 100)) < 500, String(byFile.length));

  let server: UnleashFlags | undefined;
  await withWorld({ flags: async () => (server = await UnleashFlags.start()) }, async ({ flags, crossfade }) => {
    assert.ok(server);
    await flags.set({ cohortPercent: PERCENT });
    assert.deepEqual(await changed(crossfade), byFile);
    const { url, token } = server.clients;
    const client = new Unleash({ url, appName: "crossfade-e2e", customHeaders: { Authorization: token }, disableMetrics: true });
    try {
      await new Promise<void>((ready, failed) => client.once("synchronized", ready).once("error", failed));
      const byClient = USERS.filter((userId) => client.isEnabled(FLAG.cohort, { userId }));
      const known = new Set(USERS);
      assert.deepEqual(byClient, byFile.filter((userId) => known.has(userId)));
    } finally {
      client.destroy();
    }
  });
});

/** The cohort once there is one: flags may change in the middle of an answer, and do not between two that are equal. */
async function changed(crossfade: Crossfade): Promise<string[]> {
  let last: string[] = [];
  return await waitFor("the cohort to change", async () => {
    const before = last;
    last = await crossfade.cohort(ALL);
    return last.length > 0 && last.join() === before.join() ? last : undefined;
  });
}

test("a cohort may be an organisation", { timeout: 120_000 }, async () => {
  await withWorld({}, async (world) => {
    await world.fillStore();
    await world.crossfade.moveTo("live");
    await world.flags.set({ cohortPercent: 100 });
    const file = join(world.directory, "flags.json");
    const document = JSON.parse(await readFile(file, "utf8")) as {
      features: { name: string; strategies: { constraints: object[] }[] }[];
    };
    const cohort = document.features.find(({ name }) => name === FLAG.cohort);
    cohort?.strategies[0]?.constraints.push({ contextName: "orgId", operator: "IN", values: [EVE.orgId], inverted: false });
    await writeFile(file, JSON.stringify(document));
    const originFor = async (person: typeof ADA) => (await world.restClient(person).list()).origin;
    await waitFor("the store to answer the one organisation", async () => (await originFor(EVE)) === "sync");
    assert.equal(await originFor(ADA), "legacy");
    assert.deepEqual(await world.crossfade.cohort([EVE.userId], { org_id: EVE.orgId }), [EVE.userId]);
    assert.deepEqual(await world.crossfade.cohort([EVE.userId], { org_id: ADA.orgId }), []);
  });
});
