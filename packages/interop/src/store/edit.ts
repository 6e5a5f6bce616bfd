/** Carries out edits in TinyBase itself. */

import type { MergeableStore } from 'tinybase/mergeable-store';

import type { Json } from '../json.js';
import type { Op } from './schedule.js';

/** Runs `ops` in one transaction, then takes it back if that is wanted; how it ended. */
export const editStore = (store: MergeableStore, ops: readonly Op[], rollBack: boolean): string => {
  const methods = store as unknown as Record<string, (...args: Json[]) => unknown>;
  try {
    store.transaction(
      () => ops.forEach(([method, ...args]) => methods[method]?.(...args)),
      () => rollBack,
    );
  } catch (error) {
    if (String(error) === 'Error: tinybase:13') return 'tinybase:13';
    throw error;
  }
  return rollBack ? 'rolled back' : 'done';
};
