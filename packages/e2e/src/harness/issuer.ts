import { generateKeyPairSync } from "node:crypto";
import { importPKCS8, SignJWT, type JWTPayload } from "jose";

/** Someone who is signed in, as Clerk would describe them. */
export interface Person {
  readonly userId: string;
  readonly orgId: string;
  /** Without Clerk's "org:" prefix. */
  readonly role: "admin" | "member" | "viewer";
}

export type ClaimsVersion = 1 | 2;

/** A real RSA key that signs session tokens as Clerk does, so that everything behind it verifies for real. */
export class Issuer {
  readonly publicPem: string;
  readonly #privatePem: string;

  constructor() {
    const { publicKey, privateKey } = generateKeyPairSync("rsa", {
      modulusLength: 2048,
      publicKeyEncoding: { type: "spki", format: "pem" },
      privateKeyEncoding: { type: "pkcs8", format: "pem" },
    });
    this.publicPem = publicKey;
    this.#privatePem = privateKey;
  }

  /** A session token of one minute, in either version of Clerk's claims. */
  async session(person: Person, version: ClaimsVersion = 2, more: JWTPayload = {}): Promise<string> {
    const { userId, orgId, role } = person;
    const now = Math.floor(Date.now() / 1_000);
    const organisation =
      version === 1
        ? { org_id: orgId, org_role: `org:${role}`, org_slug: orgId, org_permissions: [] }
        : { v: 2, pla: "o:free", o: { id: orgId, rol: role, slg: orgId } };
    const base = { iss: "https://clerk.example.test", sub: userId, sid: `sess_${userId}`, azp: "http://localhost:3000" };
    return await new SignJWT({ ...base, sts: "active", fva: [0, -1], iat: now, nbf: now - 10, exp: now + 60, ...organisation, ...more })
      .setProtectedHeader({ alg: "RS256", typ: "JWT", kid: "ins_test" })
      .sign(await importPKCS8(this.#privatePem, "RS256"));
  }
}

/** Changes a claim and keeps the signature of the original. */
export function tamper(token: string, claims: JWTPayload): string {
  const [header, payload, signature] = token.split(".") as [string, string, string];
  const changed = { ...(JSON.parse(Buffer.from(payload, "base64url").toString()) as JWTPayload), ...claims };
  return [header, Buffer.from(JSON.stringify(changed)).toString("base64url"), signature].join(".");
}
