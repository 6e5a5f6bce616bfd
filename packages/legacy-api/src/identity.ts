import { createHash, timingSafeEqual } from "node:crypto";
import { verifyToken } from "@clerk/backend";
import { jwtVerify } from "jose";
import { z } from "zod";
import { ApiError } from "./errors.js";
import type { Settings } from "./settings.js";

/** Who is asking: a member of one organisation, or crossfade on nobody's behalf. */
export type Caller =
  | { readonly kind: "user"; readonly userId: string; readonly orgId: string; readonly role: string }
  | { readonly kind: "service" };

type UserCaller = Extract<Caller, { kind: "user" }>;

/** Clock skew that is tolerated, in seconds; `@clerk/backend` uses the same. */
const CLOCK_SKEW_S = 5;

// Clerk's current session tokens pack the organisation into `o` and leave "org:" off the role.
const V2Claims = z.object({
  sub: z.string(),
  sts: z.string().optional(),
  o: z.object({ id: z.string(), rol: z.string() }).optional(),
});
const V1Claims = z.object({
  sub: z.string(),
  sts: z.string().optional(),
  org_id: z.string().optional(),
  org_role: z.string().optional(),
});
const OnBehalfOfClaims = z.object({ sub: z.string().min(1), org_id: z.string().min(1), org_role: z.string().min(1) });

/** The parts of a request that say who sent it. */
export interface Credentials {
  readonly authorization: string | undefined;
  readonly sessionCookie: string | undefined;
  readonly onBehalfOf: string | undefined;
}

export class Authenticator {
  readonly #settings: Pick<Settings, "clerkJwtKey" | "authorizedParties" | "serviceToken">;

  constructor(settings: Pick<Settings, "clerkJwtKey" | "authorizedParties" | "serviceToken">) {
    this.#settings = settings;
  }

  /** The header goes before the cookie. Throws `ApiError` when nobody can be recognised. */
  async authenticate(credentials: Credentials): Promise<Caller> {
    const token = bearerToken(credentials.authorization) ?? credentials.sessionCookie;
    if (token === undefined || token === "") throw new ApiError("unauthenticated", "sign in: a session token is required");
    if (this.#isServiceToken(token)) {
      return credentials.onBehalfOf === undefined ? { kind: "service" } : await this.#onBehalfOf(credentials.onBehalfOf);
    }
    return await this.#session(token);
  }

  #isServiceToken(token: string): boolean {
    const expected = this.#settings.serviceToken;
    // Digests have one length, so neither content nor length shows in the time that this takes.
    return expected !== undefined && timingSafeEqual(digest(token), digest(expected));
  }

  async #session(token: string): Promise<UserCaller> {
    const { clerkJwtKey, authorizedParties } = this.#settings;
    const claims: unknown = await verifyToken(token, {
      jwtKey: clerkJwtKey,
      ...(authorizedParties === undefined ? {} : { authorizedParties: [...authorizedParties] }),
    }).catch(() => {
      throw new ApiError("unauthenticated", "the session token is not valid, or no longer");
    });
    return sessionCaller(claims);
  }

  async #onBehalfOf(token: string): Promise<UserCaller> {
    const key = new TextEncoder().encode(this.#settings.serviceToken);
    const claims = await jwtVerify(token, key, {
      algorithms: ["HS256"],
      audience: "legacy",
      requiredClaims: ["iat", "exp"],
      clockTolerance: CLOCK_SKEW_S,
    }).then(
      ({ payload }) => OnBehalfOfClaims.safeParse(payload),
      () => undefined,
    );
    if (claims?.success !== true) {
      throw new ApiError("invalid_on_behalf_of", "Crossfade-On-Behalf-Of is not valid, or no longer");
    }
    const { sub, org_id, org_role } = claims.data;
    return { kind: "user", userId: sub, orgId: org_id, role: org_role };
  }
}

function sessionCaller(claims: unknown): UserCaller {
  const session = isVersion2(claims) ? readV2(claims) : readV1(claims);
  if (session === undefined || session.status === "pending") {
    throw new ApiError("unauthenticated", "this session is not signed in");
  }
  if (session.orgId === undefined || session.role === undefined) {
    throw new ApiError("no_organisation", "choose an organisation: the session names none");
  }
  return { kind: "user", userId: session.userId, orgId: session.orgId, role: session.role };
}

interface Session {
  readonly userId: string;
  readonly status: string | undefined;
  readonly orgId: string | undefined;
  readonly role: string | undefined;
}

function isVersion2(claims: unknown): boolean {
  return typeof claims === "object" && claims !== null && "v" in claims && claims.v === 2;
}

function readV2(claims: unknown): Session | undefined {
  const parsed = V2Claims.safeParse(claims);
  if (!parsed.success) return undefined;
  const { sub, sts, o } = parsed.data;
  return { userId: sub, status: sts, orgId: o?.id, role: o === undefined ? undefined : `org:${o.rol}` };
}

function readV1(claims: unknown): Session | undefined {
  const parsed = V1Claims.safeParse(claims);
  if (!parsed.success) return undefined;
  const { sub, sts, org_id, org_role } = parsed.data;
  return { userId: sub, status: sts, orgId: org_id, role: org_role };
}

function bearerToken(authorization: string | undefined): string | undefined {
  return authorization?.match(/^Bearer +(\S+)$/i)?.[1];
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
