import { ApiError } from "./errors.js";
import type { Caller } from "./identity.js";
import type { Scope } from "./users-table.js";

export type WriteAction = "create" | "update" | "delete";

/** What each organisation role may change. A role that is not listed only reads. */
const MAY_WRITE: ReadonlyMap<string, ReadonlySet<WriteAction>> = new Map([
  ["org:admin", new Set<WriteAction>(["create", "update", "delete"])],
  ["org:member", new Set<WriteAction>(["create", "update"])],
]);

/** Rows that the caller may see; to everybody else they do not exist. */
export function readScope(caller: Caller): Scope {
  return caller.kind === "service" ? "all" : { orgId: caller.orgId };
}

/** The organisation that the caller may change, or an `ApiError`. */
export function writeScope(caller: Caller, action: WriteAction): { readonly orgId: string } {
  if (caller.kind === "service") {
    throw new ApiError("forbidden", "the service credential writes only with Crossfade-On-Behalf-Of");
  }
  if (MAY_WRITE.get(caller.role)?.has(action) !== true) {
    throw new ApiError("forbidden", `the role ${caller.role} may not ${action} users`);
  }
  return { orgId: caller.orgId };
}
