/** How a page stays connected: TinyBase's synchronizer on the browser's own WebSocket, in each of its modes. */

import ReconnectingWebSocket from "reconnecting-websocket";
import type { MergeableStore } from "tinybase";
import { createWsSynchronizer } from "tinybase/synchronizers/synchronizer-ws-client";

const RETRY_MS = 50;

/** Gives a session, from which a sync token is made. */
export type Session = () => Promise<string>;

export interface Connection {
  opened(): number;
  connected(): boolean;
}

/**
 * One store on a socket. Its synchronizer ends with the socket, under a reconnecting wrapper too, so both are made anew
 * after each loss.
 */
export async function connectSingleStore(store: MergeableStore, session: Session, orgId: string): Promise<Connection> {
  let opened = 0;
  let socket: WebSocket | undefined;
  const connection = async (onSynchronized: () => void): Promise<void> => {
    const protocols = ["crossfade", `crossfade.token.${await syncToken(session)}`];
    const current = new WebSocket(`${syncUrl()}/org/${orgId}`, protocols);
    socket = current;
    current.addEventListener("open", () => (opened += 1));
    const closed = new Promise<void>((resolve) => current.addEventListener("close", () => resolve()));
    const synchronizer = await createWsSynchronizer(store, current);
    await synchronizer.startSync();
    onSynchronized();
    await closed;
    await synchronizer.destroy();
  };
  const keepConnected = async (onSynchronized: () => void): Promise<never> => {
    for (;;) {
      // The server may be away; the next attempt tells.
      await connection(onSynchronized).catch((error: unknown) => console.info("not connected:", String(error)));
      await delay(RETRY_MS);
    }
  };
  await new Promise<void>((resolve) => void keepConnected(resolve));
  return { opened: () => opened, connected: () => socket?.readyState === WebSocket.OPEN };
}

/** One channel on a socket that TinyBase shares among stores; the wrapper is the one of TinyBase's documentation. */
export async function connectMultiplexed(store: MergeableStore, session: Session, orgId: string): Promise<Connection> {
  let opened = 0;
  let token = "";
  class SocketWithToken extends WebSocket {
    constructor(url: string, protocols: readonly string[]) {
      super(url, [...protocols, `crossfade.token.${token}`]);
    }
  }
  const url = async (): Promise<string> => {
    // The wrapper never tries again after a URL that fails; with an old token it does.
    token = await syncToken(session).catch(() => token);
    return syncUrl();
  };
  const socket = new ReconnectingWebSocket(url, ["tinybase", "crossfade"], {
    WebSocket: SocketWithToken,
    minReconnectionDelay: RETRY_MS,
    maxReconnectionDelay: 4 * RETRY_MS,
  });
  socket.addEventListener("open", () => {
    opened += 1;
  });
  // The wrapper does all that TinyBase uses of a WebSocket; its types of listeners are its own.
  const synchronizer = await createWsSynchronizer(store, socket as unknown as WebSocket, `org/${orgId}`);
  await synchronizer.startSync();
  return { opened: () => opened, connected: () => socket.readyState === ReconnectingWebSocket.OPEN };
}

async function syncToken(session: Session): Promise<string> {
  const headers = { authorization: `Bearer ${await session()}` };
  const response = await fetch("/_crossfade/sync-token", { method: "POST", headers });
  if (!response.ok) throw new Error(`sync-token: ${response.status}`);
  return ((await response.json()) as { token: string }).token;
}

function syncUrl(): string {
  return `ws://${location.host}/sync`;
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
