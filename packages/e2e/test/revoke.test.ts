import assert from "node:assert/strict";
import { test } from "node:test";
import type { Crossfade } from "../src/harness/crossfade.js";
import type { Person } from "../src/harness/issuer.js";
import { multiplexed } from "../src/harness/multiplexed.js";
import { assertShut, tryToOpen } from "../src/harness/raw-client.js";
import { SyncClient, type Closed } from "../src/harness/sync-client.js";
import { openSocket, openWith, requestSyncToken, type OpeningSocket, type SyncToken } from "../src/harness/sync-session.js";
import { waitFor } from "../src/harness/wait.js";
import { ADA, BOB, step, withWorld, type World } from "../src/harness/world.js";

const REVOKED: Closed = { code: 4008, reason: "crossfade:revoked" };

/** Somebody signed in at one place: the session token that their browser has, and comes back with until it gets another. */
class SignedIn {
  #session = "";

  constructor(
    readonly world: World,
    readonly person: Person,
    readonly sid: string,
  ) {}

  /** As Clerk gives a new token of the same session every minute. */
  async renew(): Promise<void> {
    this.#session = await this.world.issuer.session(this.person, 2, { sid: this.sid });
  }

  async ask(through: Crossfade): Promise<Response> {
    return await requestSyncToken(through.url, this.#session);
  }

  async token(through: Crossfade): Promise<SyncToken> {
    const response = await this.ask(through);
    if (!response.ok) throw new Error(`sync-token: ${response.status} ${await response.text()}`);
    return (await response.json()) as SyncToken;
  }

  async open(through: Crossfade): Promise<OpeningSocket> {
    const { token, paths } = await this.token(through);
    return openSocket(`${through.syncUrl}/${paths[0]}`, token);
  }

  async openMultiplexed(through: Crossfade): Promise<OpeningSocket> {
    const { token } = await this.token(through);
    return openWith(through.syncUrl, ["tinybase", "crossfade", `crossfade.token.${token}`]);
  }
}

interface Cast {
  readonly world: World;
  readonly first: Crossfade;
  readonly second: Crossfade;
  readonly bob: SignedIn;
  readonly ada: SignedIn;
  readonly bobs: SyncClient;
  readonly adas: SyncClient;
}

test("revoked sync tokens: sockets close, none opens, and what was edited offline arrives after signing in again", { timeout: 240_000 }, async (t) => {
  await withWorld({ processes: 2 }, async (world) => {
    const [first, second] = [world.crossfade, world.followers[0] as Crossfade];
    await world.fillStore();
    await waitFor("the follower to find the holder", async () => (await second.ready()).holder === first.url);
    const [bob, ada] = [new SignedIn(world, BOB, "sess_bob"), new SignedIn(world, ADA, "sess_ada")];
    await bob.renew();
    await ada.renew();
    const connect = async (open: () => Promise<OpeningSocket>): Promise<SyncClient> => {
      const client = await SyncClient.connect({ open });
      world.onEnd(() => client.disconnect());
      return client;
    };
    const bobs = await connect(() => bob.open(first));
    const adas = await connect(() => ada.open(second));
    const cast = { world, first, second, bob, ada, bobs, adas };
    await step(t, "a user's sockets close, others' stay, and the old tokens buy nothing", () => userRevoked(cast));
    await step(t, "with a new session token the client is back, and its offline edits arrive", () => signedInAgain(cast));
    await step(t, "revoked at the follower: the session's socket closes at the holder, and it gets no token any more", () => sessionRevoked(cast));
    await step(t, "it outlives kill -9, and is ordered while nobody answers", () => outlivesKills(cast));
    await step(t, "lifted, it holds again; the audit log says all of it, and no log says who", () => lifted(cast));
  });
});

async function userRevoked({ world, first, bob, bobs, adas }: Cast): Promise<void> {
  const old = await bob.token(first);
  const tabs = await multiplexed(world, () => bob.openMultiplexed(first), ["org/org_1"]);
  const closes: Closed[] = [];
  tabs.socket.addEventListener("close", (event) => {
    const { code, reason } = event as Closed;
    closes.push({ code, reason });
  });
  await first.run("revoke", "--user", BOB.userId, "--reason", "lost laptop", "--actor", "operator");
  await waitFor("both of Bob's sockets to be closed", () => bobs.closes.length > 0 && closes.length > 0);
  assert.deepEqual([bobs.closes[0], closes[0]], [REVOKED, REVOKED]);
  assert.deepEqual([adas.closes, adas.connected], [[], true]);
  const shut = await tryToOpen(`${first.syncUrl}/org/org_1`, old.token);
  assert.deepEqual(shut, { kind: "refused", status: 401 });
  const response = await bob.ask(first);
  assert.equal(response.status, 401);
  assert.match(await response.text(), /session-token-too-old/);
  await tabs.socket.closed();
  // It cannot come back, and goes on working by itself.
  bobs.edit("u1", "name", "Edited while revoked");
  assert.equal(bobs.user("u1")?.name, "Edited while revoked");
  assert.notEqual(adas.user("u1")?.name, "Edited while revoked");
}

async function signedInAgain({ world, bob, bobs, adas }: Cast): Promise<void> {
  // Session tokens say whole seconds: one of the second of the order may be from before it.
  await waitFor("the client to be back", async () => {
    await bob.renew();
    return bobs.connected;
  });
  await waitFor("legacy to have the edit", async () => (await world.legacy.row(ADA, "u1"))?.name === "Edited while revoked");
  await world.untilSettled([bobs, adas]);
}

async function sessionRevoked({ world, first, second, ada, adas, bobs }: Cast): Promise<void> {
  const before = bobs.closes.length;
  adas.edit("u2", "name", "Before the revocation");
  await waitFor("the edit to be committed", () => bobs.user("u2")?.name === "Before the revocation");
  await second.run("revoke", "--session", ada.sid, "--reason", "left the company", "--actor", "operator");
  await waitFor("her socket to be closed", () => adas.closes.some(({ code }) => code === REVOKED.code));
  for (const through of [first, second]) {
    await waitFor("the session to get no token", async () => {
      await ada.renew();
      return (await ada.ask(through)).status === 403;
    });
  }
  const elsewhere = new SignedIn(world, ADA, "sess_ada_phone");
  await elsewhere.renew();
  assert.equal((await elsewhere.ask(first)).status, 200, "another session of hers is another one");
  assert.equal(bobs.closes.length, before);
  await waitFor("what was committed to be delivered", async () => (await world.legacy.row(ADA, "u2"))?.name === "Before the revocation");
}

async function outlivesKills({ first, second, bob, ada }: Cast): Promise<void> {
  await first.kill();
  await waitFor("the follower to take over", async () => (await second.ready()).role === "holder");
  await ada.renew();
  assert.equal((await ada.ask(second)).status, 403);
  await bob.renew();
  const { token } = await bob.token(second);
  await second.kill();
  // Beside processes that do not run.
  await first.run("revoke", "--user", BOB.userId, "--actor", "operator");
  await first.restart();
  await waitFor("it to serve", async () => (await first.ready()).role === "holder");
  assertShut(await tryToOpen(`${first.syncUrl}/org/org_1`, token), "a token from before the order");
  assert.equal((await ada.ask(first)).status, 403);
  await second.restart();
}

async function lifted({ world, first, second, bob, ada, adas, bobs }: Cast): Promise<void> {
  const listed = await first.run("revoke", "--list");
  assert.match(listed, /session +sess_ada .* by operator: left the company/);
  assert.match(listed, /user +user_bob .* by operator/);
  await first.run("revoke", "--session", ada.sid, "--lift", "--actor", "operator");
  await first.run("revoke", "--user", BOB.userId, "--lift", "--actor", "operator");
  const again = await first.tryRun("revoke", "--user", BOB.userId, "--lift");
  assert.notEqual(again.code, 0);
  assert.match(again.stderr, /not revoked/);
  await bob.renew();
  await ada.renew();
  adas.edit("u3", "name", "After all");
  const url = second.url;
  await waitFor("the follower to be there", async () => (await second.ready()).holder === first.url, () => url);
  await adas.untilConnected();
  await bobs.untilConnected();
  await world.untilSettled([adas, bobs]);
  const audit = await first.run("audit");
  for (const entry of [/operator +revoke +user user_bob .*lost laptop/, /revoke +session sess_ada .*left the company/, /lift revocation +session sess_ada/, /lift revocation +user user_bob/]) {
    assert.match(audit, entry);
  }
  for (const process of [first, second]) {
    for (const who of [BOB.userId, ada.sid]) assert.ok(!process.logs().includes(who), "no log says who");
  }
}
