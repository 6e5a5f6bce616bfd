import { isDeepStrictEqual } from "node:util";

/** Equal as JSON values: order of keys aside, numbers and null by value. For conditions; assert in tests. */
export function equal(actual: unknown, expected: unknown): boolean {
  return isDeepStrictEqual(actual, expected);
}
