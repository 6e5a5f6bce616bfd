import assert from "node:assert/strict";
import { test } from "node:test";
import { Issuer, tamper } from "../src/harness/issuer.js";
import { assertShut, tryToOpen } from "../src/harness/raw-client.js";
import { requestSyncToken, syncToken, type SyncToken } from "../src/harness/sync-session.js";
import { ADA, BOB, EVE, step, withWorld } from "../src/harness/world.js";

test("who may connect", { timeout: 120_000 }, async (t) => {
  await withWorld({}, async (world) => {
    await world.fillStore();
    const { crossfade, issuer } = world;
    const now = Math.floor(Date.now() / 1_000);
    const own = `${crossfade.syncUrl}/org/org_1`;
    const { token } = await syncToken(crossfade.url, issuer, ADA);

    await step(t, "a session of either claims version gets a token for its organisation's path", async () => {
      for (const version of [1, 2] as const) {
        const response = await requestSyncToken(crossfade.url, await issuer.session(BOB, version));
        assert.equal(response.status, 200);
        assert.deepEqual(((await response.json()) as SyncToken).paths, ["org/org_1"]);
      }
      assert.deepEqual((await syncToken(crossfade.url, issuer, EVE)).paths, ["org/org_2"]);
    });

    await step(t, "the token opens that path, and is not echoed", async () => {
      assert.deepEqual(await tryToOpen(own, token), { kind: "open", protocol: "crossfade" });
    });

    const badSockets: [what: string, url: string, token: () => Promise<string | undefined>][] = [
      ["no token", own, async () => undefined],
      ["a token of another organisation", own, async () => (await syncToken(crossfade.url, issuer, EVE)).token],
      ["the path of another organisation", `${crossfade.syncUrl}/org/org_2`, async () => token],
      ["a path that nobody has", `${crossfade.syncUrl}/org`, async () => token],
      ["a path that climbs", `${crossfade.syncUrl}/org/org_2%2F..%2Forg_1`, async () => token],
      ["a token that was tampered with", own, async () => tamper(token, { paths: ["org/org_1", "org/org_2"] })],
      ["a session token instead", own, () => issuer.session(ADA)],
      ["nonsense", own, async () => "nonsense"],
    ];
    for (const [what, url, bad] of badSockets) {
      await step(t, `/sync is closed to ${what}`, async () => assertShut(await tryToOpen(url, await bad()), what));
    }

    const badSessions: [what: string, session: () => Promise<string | undefined>][] = [
      ["no session", async () => undefined],
      ["an expired session", () => issuer.session(ADA, 2, { exp: now - 10 })],
      ["a session that is not valid yet", () => issuer.session(ADA, 2, { nbf: now + 60 })],
      ["a session that was tampered with", async () => tamper(await issuer.session(ADA), { sub: "user_eve" })],
      ["a session of another issuer", () => new Issuer().session(ADA)],
      ["a sync token instead", async () => token],
      ["nonsense", async () => "nonsense"],
    ];
    for (const [what, session] of badSessions) {
      await step(t, `no sync token for ${what}`, async () => {
        const response = await requestSyncToken(crossfade.url, await session());
        const body = await response.text();
        assert.equal(response.status, 401, body);
        assert.ok(!body.includes("eyJ"), "no token, neither given nor echoed");
      });
    }

    await step(t, "the admin API wants its token, except for its health", async () => {
      const status = async (path: string, headers: Record<string, string> = {}) =>
        (await fetch(`${crossfade.adminUrl}${path}`, { headers })).status;
      for (const path of ["/stages", "/outbox", "/comparisons"]) {
        assert.equal(await status(path), 401, path);
        assert.equal(await status(path, { authorization: "Bearer wrong" }), 401, path);
      }
      assert.equal(await status("/healthz"), 200);
      assert.equal(await status("/readyz"), 200);
    });

    await step(t, "no token was logged", async () => {
      assert.ok(!crossfade.log().includes("eyJ"));
    });
  });
});
