/** Whether stores hold the same, whatever the order in which it came. */

import { isDeepStrictEqual } from 'node:util';

import type { Json } from '../json.js';
import { live, savedContent } from '../store/run.js';
import { TinyBaseClient } from './client.js';
import { addresses, type ClientSetup, PATHS } from './schedule.js';

/** `[saved content, live content]` of a store, as the driver tells it. */
type State = [string, Json];

export interface Held {
  who: string;
  content: Json;
  live: Json;
}

/** By path, what each store holds. */
export type Holdings = Map<string, Held[]>;

export const holdings = (
  setups: readonly ClientSetup[],
  clients: readonly (TinyBaseClient | number)[],
  state: { server: Record<string, State>; natives: Record<string, State>[] },
): Holdings => {
  const held: Holdings = new Map();
  const add = (path: string, who: string, [content, living]: State): void => {
    const one: Held = { who, content: JSON.parse(content) as Json, live: sorted(throughJson(living)) };
    held.set(path, [...(held.get(path) ?? []), one]);
  };
  for (const [path, store] of Object.entries(state.server)) add(path, 'the server', store);
  for (const [at, setup] of setups.entries()) {
    const client = clients[at];
    const { path, channels } = addresses(setup);
    for (const channel of channels.length > 0 ? channels : ['']) {
      const name = pathOf(path, channel);
      if (client instanceof TinyBaseClient) {
        const store = client.stores.get(channel);
        if (store) add(name, `tinybase client ${at}`, [savedContent(store), live(store)]);
      } else if (client !== undefined) {
        const store = state.natives[client]?.[channel];
        if (store) add(name, `rust client ${at}`, store);
      }
    }
  }
  return held;
};

/** Two of one path that differ. */
export const apart = (held: Holdings): { path: string; one: Held; two: Held } | undefined => {
  for (const [path, [one, ...others]] of held) {
    const two = others.find((other) => one && !isSame(one, other));
    if (one && two) return { path, one, two };
  }
  return undefined;
};

const isSame = (one: Held, two: Held): boolean =>
  isDeepStrictEqual(one.content, two.content) && isDeepStrictEqual(one.live, two.live);

const pathOf = (path: string, channel: string): string => [path, channel].filter((part) => part !== '').join('/') || PATHS[0] || '';

/** As it arrives elsewhere: JSON has no minus zero. */
const throughJson = (value: Json): Json => JSON.parse(JSON.stringify(value)) as Json;

/** Live content without its order: nested lists of pairs, by id. */
const sorted = (living: Json): Json =>
  Array.isArray(living)
    ? living.map(sorted).sort((one, two) => {
        const [a, b] = [JSON.stringify(one), JSON.stringify(two)];
        return isPair(one) && isPair(two) ? (a < b ? -1 : a > b ? 1 : 0) : 0;
      })
    : living;

const isPair = (value: Json): boolean => Array.isArray(value) && value.length === 2 && typeof value[0] === 'string';
