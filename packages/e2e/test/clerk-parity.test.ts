import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { verifyToken } from "@clerk/backend";
import { tempDirectory } from "../src/harness/cleanup.js";
import { caseKeys, PARTY, pendingSession, sessionCases, type SessionCase } from "../src/harness/session-cases.js";
import { requestSyncToken } from "../src/harness/sync-session.js";
import { withWorld, type World } from "../src/harness/world.js";

const keys = caseKeys();
const cases = sessionCases(keys);

/** What Clerk's bare verifier lets through and crossfade does not: nobody can be told apart by an empty id. */
const STRICTER = new Set(["an empty user"]);

interface Options {
  readonly name: string;
  /** What stands under `[identity]` besides the key. */
  readonly toml: string;
  readonly authorizedParties?: string[];
}

const OPTIONS: readonly Options[] = [
  { name: "any party", toml: "" },
  { name: "one authorized party", toml: `authorized_parties = [${JSON.stringify(PARTY)}]`, authorizedParties: [PARTY] },
];

for (const options of OPTIONS) {
  test(`session tokens are judged as Clerk's own verifier judges them: ${options.name}`, { timeout: 120_000 }, async () => {
    assert.ok(cases.length >= 60, `${cases.length} cases`);
    await withParity(options.toml, async (world) => {
      const counts = { accepted: 0, refused: 0 };
      const different: string[] = [];
      for (const one of cases) {
        const [clerk, ours] = await verdicts(world, one, options);
        if (STRICTER.has(one.what)) assert.deepEqual([clerk, ours], ["accepted", "refused"], one.what);
        else if (clerk !== ours) different.push(`${one.what}: Clerk ${clerk}, crossfade ${ours}`);
        counts[clerk] += 1;
      }
      console.log(`${cases.length} session tokens: ${counts.accepted} accepted and ${counts.refused} refused by Clerk's verifier`);
      assert.deepEqual(different, []);
      assert.ok(counts.accepted >= 15 && counts.refused >= 30, JSON.stringify(counts));
    });
  });
}

test("a pending session is signed out, as Clerk's middleware has it and its bare verifier does not", { timeout: 120_000 }, async () => {
  await withParity("", async (world) => {
    assert.deepEqual(await verdicts(world, pendingSession(keys), {}), ["accepted", "refused"]);
  });
});

/** A world whose sessions are those of the cases. */
async function withParity(toml: string, body: (world: World) => Promise<void>): Promise<void> {
  const directory = tempDirectory("parity");
  try {
    const file = join(directory.path, "parity.pem");
    await writeFile(file, keys.trustedPem);
    const config = (text: string) => text.replace(/jwt_key_file = .*/, `jwt_key_file = ${JSON.stringify(file)}\n${toml}`);
    await withWorld({ config }, body);
  } finally {
    await directory.remove();
  }
}

type Verdict = "accepted" | "refused";

async function verdicts(world: World, { token }: SessionCase, { authorizedParties }: Pick<Options, "authorizedParties">): Promise<[Verdict, Verdict]> {
  const sent = token();
  const verified = verifyToken(sent, { jwtKey: keys.trustedPem, ...(authorizedParties ? { authorizedParties } : {}) });
  const clerk = await verified.then(() => "accepted" as const).catch(() => "refused" as const);
  const response = await requestSyncToken(world.crossfade.url, sent);
  const body = await response.text();
  assert.ok([200, 401, 403].includes(response.status), `${response.status} ${body}`);
  // 403: signed in, and of no organisation that has a path.
  return [clerk, response.status === 401 ? "refused" : "accepted"];
}
