/** Invents schedules with a network. */

import { makeOps } from '../edits.js';
import { Random } from '../random.js';
import { makeWords, type Words } from '../words.js';
import { type ClientSetup, CHANNELS, type NetSchedule, type NetStep, type ServerSetup } from './schedule.js';

/** Half of TinyBase's five minutes at most, so that nobody takes another's stamps for being too far ahead. */
const MAX_SKEW_MS = 140_000;

const makeSkew = (random: Random): number =>
  random.oneIn(3) ? 0 : random.between(-MAX_SKEW_MS, MAX_SKEW_MS);

const UNIQUE_IDS = ['alice', 'bob', 'carol', '', 'é', '😀', '\uD800', '0', '__proto__'] as const;

const STEPS = { move: 50, edit: 24, connect: 7, cut: 6, reopen: 3, write: 2, wait: 4, skew: 1 } as const;

export const makeNetSchedule = (seed: number): NetSchedule => {
  const random = new Random(seed);
  const words = makeWords(random);
  const mode = random.pick(['single', 'multiplexed', 'mixed'] as const);
  const fragmentBytes = (): number => 
    fragments && !random.oneIn(4) ? random.between(random.oneIn(10) ? 1 : 20, 120) : 0;
  const fragments = random.oneIn(2);
  const server: ServerSetup = {
    topology: random.pick(['star', 'peer']),
    stored: !random.oneIn(4),
    fragmentBytes: fragmentBytes(),
    skewMs: makeSkew(random),
  };
  const clients = random.some(UNIQUE_IDS, random.between(2, 4)).map((uniqueId, at): ClientSetup => {
    const multiplexed = mode === 'mixed' ? random.oneIn(2) : mode === 'multiplexed';
    return {
      // The first one is always TinyBase itself.
      host: at > 0 && random.oneIn(3) ? 'rust' : 'tinybase',
      uniqueId,
      skewMs: makeSkew(random),
      fragmentBytes: fragmentBytes(),
      multiplexed,
      atBase: random.oneIn(2),
      paths: multiplexed && random.oneIn(2) ? [0, 1] : [random.oneIn(4) ? 1 : 0],
    };
  });
  const slow = random.oneIn(6);
  const begin = clients.flatMap((_, at): NetStep[] => (random.oneIn(3) ? [] : [{ connect: at }]));
  const steps = Array.from({ length: random.between(15, 70) }, () => makeStep(random, words, clients, slow));
  return { kind: 'net', seed, server, clients, steps: [...begin, ...steps] };
};

const makeStep = (random: Random, words: Words, clients: readonly ClientSetup[], slow: boolean): NetStep => {
  const at = random.below(clients.length);
  const kind = random.weighted(STEPS);
  switch (kind) {
    case 'move':
      return {
        move: Array.from({ length: random.between(1, 6) }, () => [
          random.below(clients.length),
          random.pick(['up', 'down'] as const),
          random.between(1, 8),
        ]),
      };
    case 'edit':
      return {
        edit: at,
        path: random.pick(clients[at]?.paths ?? [0]),
        ops: makeOps(random, words),
        rollBack: !words.json && random.oneIn(6),
      };
    case 'connect':
      return { connect: at };
    case 'cut':
      return { cut: at, late: random.oneIn(2) };
    case 'reopen':
      return { reopen: at };
    case 'write':
      return { write: random.below(CHANNELS.length), ops: makeOps(random, words) };
    case 'wait':
      return { waitMs: slow ? random.pick([1, 400, 1_100, 5_000]) : random.between(0, 20) };
    case 'skew':
      return { skew: at, skewMs: makeSkew(random) };
  }
};
