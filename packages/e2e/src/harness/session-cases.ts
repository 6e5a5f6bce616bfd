import { constants, createHmac, createSign, generateKeyPairSync, type KeyObject } from "node:crypto";

/** A session token, or what somebody sends in its place. */
export interface SessionCase {
  readonly what: string;
  /** Made when it is sent, so that its times are those of that moment. */
  readonly token: () => string;
}

type Json = Record<string, unknown>;

/** The keys that cases are signed with: the issuer's own, and some that nobody trusts. */
export interface CaseKeys {
  readonly trusted: KeyObject;
  readonly trustedPem: string;
  readonly other: KeyObject;
  readonly elliptic: KeyObject;
}

export function caseKeys(): CaseKeys {
  const trusted = generateKeyPairSync("rsa", { modulusLength: 2048 });
  return {
    trusted: trusted.privateKey,
    trustedPem: trusted.publicKey.export({ type: "spki", format: "pem" }).toString(),
    other: generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey,
    elliptic: generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey,
  };
}

export const PARTY = "http://localhost:3000";

const part = (value: unknown) => Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");
const nowS = () => Math.floor(Date.now() / 1_000);

function claims(more: Json = {}): Json {
  const now = nowS();
  const base = { iss: "https://clerk.example.test", sub: "user_ada", sid: "sess_1", azp: PARTY, sts: "active", fva: [0, -1] };
  const all: Json = { ...base, iat: now, nbf: now - 10, exp: now + 60, v: 2, pla: "o:free", o: { id: "org_1", rol: "member", slg: "one" }, ...more };
  // A claim that is set to `undefined` is left out.
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

const HEADER: Json = { alg: "RS256", typ: "JWT", kid: "ins_test" };

function sign(signed: string, alg: string, key: KeyObject): string {
  const digest = `sha${alg.slice(2)}`;
  const signer = createSign(digest).update(signed);
  if (alg.startsWith("PS")) return signer.sign({ key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }, "base64url");
  if (alg.startsWith("ES")) return signer.sign({ key, dsaEncoding: "ieee-p1363" }, "base64url");
  return signer.sign(key, "base64url");
}

/** Signed in, with tasks left to do. */
export function pendingSession(keys: CaseKeys): SessionCase {
  const token = () => {
    const signed = `${part(HEADER)}.${part(claims({ sts: "pending" }))}`;
    return `${signed}.${sign(signed, "RS256", keys.trusted)}`;
  };
  return { what: "a pending session", token };
}

/** Every case: what Clerk's own verifier says of each is the truth, not what its name suggests. */
export function sessionCases(keys: CaseKeys): SessionCase[] {
  const made = (header: unknown, payload: unknown, alg = "RS256", key = keys.trusted) => {
    const signed = `${part(header)}.${part(payload)}`;
    return `${signed}.${sign(signed, alg, key)}`;
  };
  const cases: SessionCase[] = [];
  const add = (what: string, token: () => string) => cases.push({ what, token });
  const withClaims = (what: string, more: () => Json) => add(what, () => made(HEADER, claims(more())));
  const withHeader = (what: string, more: Json, alg = "RS256", key = keys.trusted) =>
    add(what, () => made(Object.fromEntries(Object.entries({ ...HEADER, ...more }).filter(([, value]) => value !== undefined)), claims(), alg, key));
  const changed = (what: string, change: (token: string) => string) => add(what, () => change(made(HEADER, claims())));
  const parts = (token: string) => token.split(".") as [string, string, string];

  withClaims("a good one, claims of version 2", () => ({}));
  withClaims("claims of version 1", () => ({ v: undefined, o: undefined, org_id: "org_1", org_role: "org:member", org_slug: "one", org_permissions: [] }));
  withClaims("claims of a version that is to come", () => ({ v: 3 }));
  withClaims("no organisation", () => ({ o: undefined }));
  withClaims("an organisation without an id", () => ({ o: { rol: "member" } }));
  withClaims("an organisation that is a text", () => ({ o: "org_1" }));

  for (const alg of ["RS384", "RS512"]) withHeader(`signed by ${alg}`, { alg }, alg);
  for (const alg of ["PS256", "PS512"]) withHeader(`signed by ${alg}`, { alg }, alg);
  withHeader("signed by ES256", { alg: "ES256" }, "ES256", keys.elliptic);
  withHeader("RS256 by name, RS512 by signature", {}, "RS512");
  withHeader("an algorithm in lower case", { alg: "rs256" });
  withHeader("no algorithm", { alg: undefined });
  withHeader("an algorithm that is a number", { alg: 256 });
  withHeader("no type", { typ: undefined });
  withHeader("a type in lower case", { typ: "jwt" });
  withHeader("a type of another kind", { typ: "at+jwt" });
  withHeader("no key id", { kid: undefined });
  withHeader("another key id", { kid: "ins_other" });
  withHeader("signed by a key that was rotated away", {}, "RS256", keys.other);
  withHeader("an extension that must be understood", { crit: ["b64"], b64: false });
  add("algorithm none, no signature", () => `${part({ ...HEADER, alg: "none" })}.${part(claims())}.`);
  add("algorithm none, some signature", () => `${part({ ...HEADER, alg: "none" })}.${part(claims())}.${part("x")}`);
  for (const alg of ["HS256", "HS512"]) {
    add(`${alg}, keyed by the public key`, () => {
      const signed = `${part({ ...HEADER, alg })}.${part(claims())}`;
      return `${signed}.${createHmac(`sha${alg.slice(2)}`, keys.trustedPem).update(signed).digest("base64url")}`;
    });
  }

  withClaims("expired beyond the skew", () => ({ exp: nowS() - 9 }));
  withClaims("expired within the skew", () => ({ exp: nowS() - 2 }));
  withClaims("no expiry", () => ({ exp: undefined }));
  withClaims("an expiry that is a text", () => ({ exp: String(nowS() + 60) }));
  withClaims("an expiry with a fraction", () => ({ exp: nowS() + 60.5 }));
  withClaims("an expiry of zero", () => ({ exp: 0 }));
  withClaims("an expiry below zero", () => ({ exp: -1 }));
  withClaims("an expiry in the far future", () => ({ exp: 9_007_199_254_740_991 }));
  withClaims("an expiry of null", () => ({ exp: null }));
  withClaims("an expiry that is an object", () => ({ exp: {} }));
  withClaims("not valid yet, beyond the skew", () => ({ nbf: nowS() + 9 }));
  withClaims("not valid yet, within the skew", () => ({ nbf: nowS() + 2 }));
  withClaims("no beginning", () => ({ nbf: undefined }));
  withClaims("a beginning that is a text", () => ({ nbf: String(nowS() - 10) }));
  withClaims("a beginning of null", () => ({ nbf: null }));
  withClaims("a beginning of zero", () => ({ nbf: 0 }));
  withClaims("issued in the future, beyond the skew", () => ({ iat: nowS() + 9 }));
  withClaims("issued in the future, within the skew", () => ({ iat: nowS() + 2 }));
  withClaims("no time of issue", () => ({ iat: undefined }));
  withClaims("a time of issue that is a text", () => ({ iat: String(nowS()) }));
  withClaims("a time of issue of null", () => ({ iat: null }));
  withClaims("issued long ago", () => ({ iat: 1 }));

  withClaims("nobody", () => ({ sub: undefined }));
  withClaims("an empty user", () => ({ sub: "" }));
  withClaims("a user that is a number", () => ({ sub: 7 }));
  withClaims("a user of null", () => ({ sub: null }));
  withClaims("another party", () => ({ azp: "https://evil.example.test" }));
  withClaims("no party", () => ({ azp: undefined }));
  withClaims("an empty party", () => ({ azp: "" }));
  withClaims("a party with a slash more", () => ({ azp: `${PARTY}/` }));
  withClaims("parties in a list", () => ({ azp: [PARTY] }));
  withClaims("a party that is a number", () => ({ azp: 3000 }));
  withClaims("an audience", () => ({ aud: "somebody" }));
  withClaims("audiences", () => ({ aud: ["somebody", "else"] }));
  withClaims("no issuer", () => ({ iss: undefined }));
  withClaims("no session id", () => ({ sid: undefined }));
  withClaims("a status that nobody knows", () => ({ sts: "dreaming" }));

  changed("claims that were changed", (token) => {
    const [header, , signature] = parts(token);
    return [header, part(claims({ sub: "user_eve" })), signature].join(".");
  });
  changed("a header that was changed", (token) => {
    const [, payload, signature] = parts(token);
    return [part({ ...HEADER, kid: "ins_other" }), payload, signature].join(".");
  });
  changed("a signature cut short", (token) => token.slice(0, -8));
  changed("a signature with a bit flipped", (token) => {
    const [header, payload, signature] = parts(token);
    const bytes = Buffer.from(signature, "base64url");
    bytes[10] = (bytes[10] ?? 0) ^ 1;
    return [header, payload, bytes.toString("base64url")].join(".");
  });
  changed("a signature of none", (token) => parts(token).slice(0, 2).join(".") + ".");
  changed("two parts", (token) => parts(token).slice(0, 2).join("."));
  changed("four parts", (token) => `${token}.${part("more")}`);
  changed("a part in front", (token) => `${part("more")}.${token}`);
  add("nonsense", () => "nonsense");
  add("dots", () => "..");
  add("claims that are no JSON", () => made(HEADER, "{"));
  add("claims that are a list", () => made(HEADER, "[]"));
  add("claims that are a text", () => made(HEADER, '"claims"'));
  add("claims that are null", () => made(HEADER, "null"));
  add("a header that is no JSON", () => made("{", claims()));
  add("a header that is null", () => made("null", claims()));
  add("a claim named twice", () => made(HEADER, JSON.stringify(claims()).replace('"sub":', '"sub":"user_eve","sub":')));
  return cases;
}
