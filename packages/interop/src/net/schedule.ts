/** Schedules with a network: clients of both kinds around one server. Plain JSON, so that they can be kept. */

import type { Json } from '../json.js';
import type { Op } from '../store/schedule.js';

export interface ClientSetup {
  host: 'tinybase' | 'rust';
  uniqueId: string;
  skewMs: number;
  /** 0: never in fragments. */
  fragmentBytes: number;
  multiplexed: boolean;
  /** Whether a multiplexed connection has the common base of all paths in its URL, or nothing. */
  atBase: boolean;
  /** Which paths, by their place in {@link PATHS}; a single-store client has the first only. */
  paths: number[];
}

export interface ServerSetup {
  topology: 'star' | 'peer';
  /** In peer topology: whether the server has a store. A star always has. */
  stored: boolean;
  fragmentBytes: number;
  skewMs: number;
}

export type NetStep =
  | { connect: number }
  /** The connection is cut; frames under way are lost. The server may learn of it `late`. */
  | { cut: number; late: boolean }
  /** The same socket object connects again, as a reconnecting socket does: multiplexed clients of TinyBase only. */
  | { reopen: number }
  | { edit: number; path: number; ops: Op[]; rollBack: boolean }
  /** The server itself writes. */
  | { write: number; ops: Op[] }
  /** So many frames arrive at the server (`up`) or at the client (`down`). */
  | { move: [client: number, direction: 'up' | 'down', frames: number][] }
  | { waitMs: number }
  | { skew: number; skewMs: number };

export interface NetSchedule {
  kind: 'net';
  seed: number;
  server: ServerSetup;
  clients: ClientSetup[];
  steps: NetStep[];
}

export const BASE = 'room';
export const CHANNELS = ['a', 'é/😀'] as const;
export const PATHS = CHANNELS.map((channel) => `${BASE}/${channel}`);

/** Path and channel of a connection; no channels for a single-store one. */
export const addresses = ({ multiplexed, atBase, paths }: ClientSetup): { path: string; channels: string[] } => {
  if (!multiplexed) return { path: PATHS[paths[0] ?? 0] ?? BASE, channels: [] };
  const names: readonly string[] = atBase ? CHANNELS : PATHS;
  return { path: atBase ? BASE : '', channels: paths.map((at) => names[at] ?? BASE) };
};

/** The paths of a client's stores. */
export const pathsOf = ({ multiplexed, paths }: ClientSetup): string[] =>
  (multiplexed ? paths : paths.slice(0, 1)).map((at) => PATHS[at] ?? BASE);

export type Action = Json[];
