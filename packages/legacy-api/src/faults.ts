import { z } from "zod";

/** Ways to make this API misbehave on purpose, for tests of what stands in front of it. */
export const Faults = z.strictObject({
  /** Falsifies one field of every user in answers to GET; nothing stored changes. */
  wrongField: z.strictObject({ field: z.string(), value: z.json() }).nullable().default(null),
  /** Hides rows from one user, as a rule of the API's own would: they are in no list, and not found. */
  hideRows: z.strictObject({ from: z.string(), ids: z.array(z.string()) }).nullable().default(null),
  /** Waits before each answer under /users. */
  delayMs: z.int().min(0).max(60_000).default(0),
  /** Answers everything under /users with this status and does nothing. */
  status: z.literal(503).nullable().default(null),
});
export type Faults = z.infer<typeof Faults>;

/** Purposes that are told apart; later ones share one counter, so that a caller cannot fill the memory. */
const MAX_PURPOSES = 32;

/** How many requests came in, by their `Crossfade-Purpose`. */
export class PurposeCounter {
  readonly #counts = new Map<string, number>();

  count(purpose: string | undefined): void {
    const name = purpose ?? "none";
    const key = this.#counts.has(name) || this.#counts.size < MAX_PURPOSES ? name : "other";
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
  }

  snapshot(): Record<string, number> {
    return Object.fromEntries(this.#counts);
  }
}

/** Takes rows out of a page; undefined for the answer about a single one of them. */
export function withoutRows(body: unknown, ids: readonly string[]): unknown {
  if (typeof body !== "object" || body === null) return body;
  const isHidden = (row: unknown) =>
    typeof row === "object" && row !== null && "id" in row && typeof row.id === "string" && ids.includes(row.id);
  if (!("data" in body && Array.isArray(body.data))) return isHidden(body) ? undefined : body;
  const data: unknown[] = body.data.filter((row: unknown) => !isHidden(row));
  const total = "total" in body && typeof body.total === "number" ? { total: body.total - (body.data.length - data.length) } : {};
  return { ...body, data, ...total };
}

/** Falsifies `field` in a user, or in each user of a page. */
export function falsify(body: unknown, wrong: NonNullable<Faults["wrongField"]>): unknown {
  if (typeof body !== "object" || body === null) return body;
  if ("data" in body && Array.isArray(body.data)) {
    return { ...body, data: body.data.map((row: unknown) => falsify(row, wrong)) };
  }
  return wrong.field in body ? { ...body, [wrong.field]: wrong.value } : body;
}
