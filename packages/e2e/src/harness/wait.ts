import { setTimeout as delay } from "node:timers/promises";

/** Only guards against hanging: no test may depend on how long something takes. */
const DEADLINE_MS = 30_000;
const POLL_MS = 20;

/**
 * Waits until `condition` gives something other than undefined and false, and returns it. When the
 * deadline passes, the error says what was waited for and what was seen last.
 */
export async function waitFor<T>(
  what: string,
  condition: () => Promise<T | undefined | false> | T | undefined | false,
  lastSeen: () => unknown = () => undefined,
  deadlineMs = DEADLINE_MS,
): Promise<T> {
  const deadline = Date.now() + deadlineMs;
  let failure: unknown;
  do {
    try {
      const result = await condition();
      if (result !== undefined && result !== false) return result;
      failure = undefined;
    } catch (error) {
      failure = error;
    }
    await delay(POLL_MS);
  } while (Date.now() < deadline);
  const seen = failure ?? lastSeen();
  const shown = seen instanceof Error ? seen.message : JSON.stringify(seen);
  throw new Error(`waited ${deadlineMs} ms for ${what}${shown === undefined ? "" : `; last seen: ${shown}`}`);
}
