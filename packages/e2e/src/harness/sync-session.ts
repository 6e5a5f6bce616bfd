import { WebSocket } from "ws";
import type { Issuer, Person } from "./issuer.js";

export interface SyncToken {
  readonly token: string;
  readonly expires_at: unknown;
  readonly server_time: unknown;
  readonly paths: readonly string[];
  /** As the session has it, with Clerk's prefix. */
  readonly role: string | null;
  readonly permissions: readonly string[];
  /** By resource: what each of the user's roles may do; null where the configuration does not say. */
  readonly write: Readonly<Record<string, readonly WriteRights[] | null>>;
}

export interface WriteRights {
  readonly cells: readonly string[];
  readonly create: boolean;
  readonly delete: boolean;
  readonly own_rows: boolean;
}

/** Asks crossfade for a sync token, as a signed-in browser does. */
export async function requestSyncToken(crossfadeUrl: string, sessionToken: string | undefined): Promise<Response> {
  return await fetch(`${crossfadeUrl}/_crossfade/sync-token`, {
    method: "POST",
    headers: sessionToken === undefined ? {} : { authorization: `Bearer ${sessionToken}` },
  });
}

export async function syncToken(crossfadeUrl: string, issuer: Issuer, person: Person): Promise<SyncToken> {
  const response = await requestSyncToken(crossfadeUrl, await issuer.session(person));
  if (!response.ok) throw new Error(`sync-token: ${response.status} ${await response.text()}`);
  return (await response.json()) as SyncToken;
}

export interface OpeningSocket {
  readonly socket: WebSocket;
  /** The connection's `Sec-WebSocket-Key`, which is the client's id in TinyBase's protocol. */
  readonly clientId: string;
}

/** Begins to open a socket; nothing that the server sends can be missed by whoever listens at once. */
export function openSocket(url: string, token: string | undefined, target?: string): OpeningSocket {
  return openWith(url, token === undefined ? ["crossfade"] : ["crossfade", `crossfade.token.${token}`], target);
}

/** The same without any subprotocol, as TinyBase's own server expects it. */
export function openPlainSocket(url: string): OpeningSocket {
  return openWith(url, []);
}

/**
 * The same with any subprotocols. A `target` is sent as it stands in the place of the URL's path, which would be
 * normalised: no client library keeps an attacker from writing `..` into a request line.
 */
export function openWith(url: string, protocols: string[], target?: string): OpeningSocket {
  let clientId = "";
  const socket = new WebSocket(url, protocols, {
    finishRequest(request) {
      clientId = String(request.getHeader("sec-websocket-key"));
      // The request line is written as Latin-1: byte for byte what UTF-8 has.
      if (target !== undefined) request.path = Buffer.from(target).toString("latin1");
      request.end();
    },
  });
  return { socket, clientId };
}
