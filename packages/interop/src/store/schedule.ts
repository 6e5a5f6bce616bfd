/** Schedules of stores without a network: who writes what when, and what reaches whom. Plain JSON, so that they can be kept. */

import type { Json } from '../json.js';

/** `[Store method, args...]`. */
export type Op = [method: string, ...args: Json[]];

interface At {
  /** The true time; a store reads this plus its skew. */
  now: number;
}

export interface Edit extends At {
  edit: number;
  /** By which `apply` refers to it. */
  id: number;
  ops: Op[];
  rollBack: boolean;
}

export type Step =
  | Edit
  | (At & { apply: number; diffOf: number })
  | (At & { inject: number; body: Json })
  | (At & { merge: number; from: number })
  | (At & { pull: number; from: number })
  | (At & { load: number; from: number })
  | (At & { loadPlain: number; content: Json })
  | { skew: number; skewMs: number }
  /** `saved`: only what would be saved; after unreadable cells TinyBase's stamps and its live content part. */
  | { check: 'all' | 'saved' };

export interface StoreSchedule {
  kind: 'store';
  seed: number;
  stores: { uniqueId: string; skewMs: number }[];
  steps: Step[];
}

/** What a step did, as both sides report it; see the driver's `store.rs`. */
export type Outcome = Json[];
