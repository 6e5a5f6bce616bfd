import { createMergeableStore, type MergeableStore } from "tinybase";
import { createWsSynchronizer } from "tinybase/synchronizers/synchronizer-ws-client";
import type { Person } from "./issuer.js";
import { ReconnectingSocket } from "./reconnecting-socket.js";
import { openWith, syncToken, type OpeningSocket } from "./sync-session.js";
import type { World } from "./world.js";

/** Stores on channels of one socket that comes back by itself. */
export interface Multiplexed {
  readonly socket: ReconnectingSocket;
  readonly stores: readonly MergeableStore[];
}

export async function multiplexed(world: World, open: () => Promise<OpeningSocket>, channels: readonly string[]): Promise<Multiplexed> {
  const socket = new ReconnectingSocket(open);
  world.onEnd(() => socket.closed());
  const stores: MergeableStore[] = [];
  for (const channel of channels) {
    const store = createMergeableStore();
    const synchronizer = await createWsSynchronizer(store, socket.asWebSocket(), channel);
    await synchronizer.startSync();
    stores.push(store);
  }
  return { socket, stores };
}

/** A multiplexed socket with a fresh token each time; the path of its URL is the base of its channels. */
export function withToken(world: World, person: Person, base: string): () => Promise<OpeningSocket> {
  return async () => {
    const { token } = await syncToken(world.crossfade.url, world.issuer, person);
    return openWith(`${world.crossfade.syncUrl}${base}`, ["tinybase", "crossfade", `crossfade.token.${token}`]);
  };
}
