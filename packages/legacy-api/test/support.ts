import { generateKeyPairSync } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { SignJWT, importPKCS8, type JWTPayload } from "jose";
import { startServer } from "../src/server.js";
import type { Settings } from "../src/settings.js";
import type { User, UserPage } from "../src/user.js";

export const SERVICE_TOKEN = "a-service-token-for-tests-only";

function makeKeys(): { publicPem: string; privatePem: string } {
  const { publicKey, privateKey } = generateKeyPairSync("rsa", {
    modulusLength: 2048,
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
  return { publicPem: publicKey, privatePem: privateKey };
}

const clerk = makeKeys();
const stranger = makeKeys();

export interface Who {
  readonly userId?: string;
  readonly orgId?: string;
  readonly role?: string;
}

/** A session token in Clerk's second claims version, which packs the organisation into `o`. */
export async function session(who: Who = {}, more: JWTPayload = {}, signedBy: "clerk" | "stranger" = "clerk"): Promise<string> {
  const { userId = "user_ada", orgId = "org_1", role = "admin" } = who;
  return await signSession({ sub: userId, v: 2, o: { id: orgId, rol: role, slg: "slug" }, ...more }, signedBy);
}

export async function signSession(claims: JWTPayload, signedBy: "clerk" | "stranger" = "clerk"): Promise<string> {
  const { privatePem } = signedBy === "clerk" ? clerk : stranger;
  const now = Math.floor(Date.now() / 1_000);
  return await new SignJWT({ iat: now, nbf: now - 10, exp: now + 60, sts: "active", azp: "http://localhost:3000", ...claims })
    .setProtectedHeader({ alg: "RS256", typ: "JWT", kid: "ins_test" })
    .sign(await importPKCS8(privatePem, "RS256"));
}

export async function onBehalfOf(claims: JWTPayload = {}, key = SERVICE_TOKEN): Promise<string> {
  const now = Math.floor(Date.now() / 1_000);
  return await new SignJWT({ sub: "user_ada", org_id: "org_1", org_role: "org:admin", aud: "legacy", iat: now, exp: now + 60, ...claims })
    .setProtectedHeader({ alg: "HS256" })
    .sign(new TextEncoder().encode(key));
}

export interface Answer<T> {
  readonly status: number;
  readonly headers: Headers;
  readonly body: T;
}

export interface Api {
  readonly port: number;
  call<T = unknown>(method: string, path: string, options?: CallOptions): Promise<Answer<T>>;
  /** Creates a user as an administrator of the organisation, and fails when that fails. */
  create(fields: Partial<User>, who?: Who): Promise<User>;
}

export interface CallOptions {
  readonly token?: string | null;
  readonly json?: unknown;
  readonly raw?: string;
  readonly headers?: Record<string, string>;
}

/** Starts the API on a free port with a database of its own; both go when the test ends. */
export async function startApi(t: TestContext, overrides: Partial<Settings> = {}): Promise<Api> {
  const directory = await mkdtemp(join(tmpdir(), "legacy-api-"));
  const server = await startServer({
    host: "127.0.0.1",
    port: 0,
    databaseUrl: `file:${join(directory, "users.db")}`,
    databaseAuthToken: undefined,
    clerkJwtKey: clerk.publicPem,
    authorizedParties: undefined,
    serviceToken: SERVICE_TOKEN,
    faultsAllowed: false,
    makesIds: false,
    ...overrides,
  });
  t.after(async () => {
    await server.stop();
    await rm(directory, { recursive: true });
  });
  return client(server.port);
}

export function client(port: number): Api {
  const call = async <T>(method: string, path: string, options: CallOptions = {}): Promise<Answer<T>> => {
    const token = options.token === undefined ? await session() : options.token;
    const response = await fetch(`http://127.0.0.1:${port}${path}`, {
      method,
      headers: {
        ...(token === null ? {} : { authorization: `Bearer ${token}` }),
        ...(options.json === undefined && options.raw === undefined ? {} : { "content-type": "application/json" }),
        ...options.headers,
      },
      body: options.raw ?? (options.json === undefined ? null : JSON.stringify(options.json)),
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, body: (text === "" ? undefined : JSON.parse(text)) as T };
  };
  return {
    port,
    call,
    async create(fields, who) {
      const json = { email: `${fields.id ?? fields.name}@example.test`, name: "Somebody", ...fields };
      const answer = await call<User>("POST", "/users", { token: await session(who), json });
      if (answer.status !== 201) throw new Error(`create: ${answer.status} ${JSON.stringify(answer.body)}`);
      return answer.body;
    },
  };
}

/** The ids of a list, in its order. */
export function ids(answer: Answer<UserPage>): string[] {
  return answer.body.data.map(({ id }) => id);
}

export function errorCode(answer: Answer<unknown>): string {
  return (answer.body as { error: { code: string } }).error.code;
}

export function publicKey(): string {
  return clerk.publicPem;
}
