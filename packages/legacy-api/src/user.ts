import { z } from "@hono/zod-openapi";

export const ROLES = ["admin", "member", "viewer"] as const;
export const SORT_KEYS = ["name", "email", "age", "role", "createdAt", "updatedAt"] as const;
export const DEFAULT_LIMIT = 20;
export const MAX_LIMIT = 100;
const MAX_SORT_TERMS = SORT_KEYS.length;

export type SortKey = (typeof SORT_KEYS)[number];
export interface SortTerm {
  readonly key: SortKey;
  readonly descending: boolean;
}

// SQLite ends a text at NUL in LIKE, so a NUL would make a row that filters cannot see.
const text = (max: number) =>
  z.string().min(1).max(max).refine((value) => !value.includes("\0"), "must not contain NUL");

/** Ids are used in URLs as they are. */
export const userId = z
  .string()
  .regex(/^[A-Za-z0-9._~-]{1,64}$/, "use 1 to 64 of A-Z a-z 0-9 . _ ~ -")
  .refine((id) => id !== "me" && id !== "." && id !== "..", "this id is reserved");

const role = z.enum(ROLES);
const email = z.email().max(254);
const age = z.int().min(0).max(200);

export const User = z
  .object({
    id: userId,
    orgId: z.string(),
    email,
    name: z.string(),
    role,
    age: age.nullable(),
    active: z.boolean(),
    createdAt: z.iso.datetime({ precision: 3 }),
    updatedAt: z.iso.datetime({ precision: 3 }),
    version: z.int().min(1).openapi({ description: "Grows by one with each change." }),
  })
  .openapi("User");
export type User = z.infer<typeof User>;

export const NewUser = z
  .strictObject({
    id: userId.optional().openapi({ description: "Chosen by the server when absent." }),
    orgId: z.string().optional().openapi({ description: "The caller's own organisation, when given." }),
    email,
    name: text(200),
    role: role.default("member"),
    age: age.nullable().default(null),
    active: z.boolean().default(true),
  })
  .openapi("NewUser");
export type NewUser = z.infer<typeof NewUser>;

export const UserChange = z
  .strictObject({
    email: email.optional(),
    name: text(200).optional(),
    role: role.optional(),
    age: age.nullable().optional(),
    active: z.boolean().optional(),
  })
  .refine((change) => Object.keys(change).length > 0, "change at least one field")
  .openapi("UserChange");
export type UserChange = z.infer<typeof UserChange>;

const wholeNumber = (min: number, max: number) =>
  z
    .string()
    .regex(/^\d{1,15}$/, "must be a whole number")
    .transform(Number)
    .pipe(z.int().min(min).max(max));

export const UserQuery = z
  .object({
    orgId: z.string().optional().openapi({ description: "Narrows what the service credential sees." }),
    email: email.optional().openapi({ description: "Exactly this email." }),
    role: role.optional(),
    roles: z
      .string()
      .transform((list) => list.split(","))
      .pipe(z.array(role).min(1))
      .optional()
      .openapi({ type: "string", description: "Any of these roles, separated by commas." }),
    active: z.enum(["true", "false"]).transform((value) => value === "true").optional(),
    minAge: wholeNumber(0, 1000).optional(),
    maxAge: wholeNumber(0, 1000).optional(),
    q: z
      .string()
      .max(200)
      .refine((value) => !value.includes("\0"), "must not contain NUL")
      .optional()
      .openapi({ description: "Part of the name; ASCII letters match in either case." }),
    sort: z
      .string()
      .transform(readSort)
      .optional()
      .openapi({ type: "string", example: "-age,name", description: `Keys: ${SORT_KEYS.join(", ")}; - turns one around.` }),
    limit: wholeNumber(1, MAX_LIMIT).default(DEFAULT_LIMIT),
    offset: wholeNumber(0, Number.MAX_SAFE_INTEGER).default(0),
  })
  .openapi("UserQuery");
export type UserQuery = z.infer<typeof UserQuery>;

export const UserPage = z
  .object({ data: z.array(User), total: z.int(), limit: z.int(), offset: z.int() })
  .openapi("UserPage");
export type UserPage = z.infer<typeof UserPage>;

function readSort(text: string, context: z.RefinementCtx): SortTerm[] {
  const terms = text.split(",").map((term) => {
    const descending = term.startsWith("-");
    return { key: descending ? term.slice(1) : term, descending };
  });
  const unknown = terms.find(({ key }) => !isSortKey(key));
  if (unknown !== undefined || terms.length > MAX_SORT_TERMS) {
    context.addIssue({ code: "custom", message: `sort by up to ${MAX_SORT_TERMS} of ${SORT_KEYS.join(", ")}` });
    return z.NEVER;
  }
  return terms as SortTerm[];
}

function isSortKey(key: string): key is SortKey {
  return (SORT_KEYS as readonly string[]).includes(key);
}
