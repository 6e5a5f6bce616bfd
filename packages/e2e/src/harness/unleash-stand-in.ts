import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { clientFeatures, INITIAL_FLAGS, type FlagProvider, type FlagState } from "./flags.js";

const BACKEND_TOKEN = "default:development.crossfade-e2e-stand-in";

/** What is answered to a client that asks for its toggles. */
export type Answering =
  | { readonly kind: "document" }
  | { readonly kind: "text"; readonly status: number; readonly type: string; readonly text: string }
  /** Never. */
  | { readonly kind: "nothing" }
  /** The first half of the document, and the connection breaks off. */
  | { readonly kind: "half" };

/**
 * The client API of an Unleash server, as far as a client sees it: toggles from memory, and whatever else a server
 * that is ill may answer. The real server is in `unleash.ts`.
 */
export class UnleashStandIn implements FlagProvider {
  readonly configToml: string;
  readonly env = { UNLEASH_TOKEN: BACKEND_TOKEN };
  answering: Answering = { kind: "document" };
  readonly #port: number;
  #server: Server;
  #state: FlagState = INITIAL_FLAGS;

  private constructor(server: Server) {
    this.#server = server;
    this.#port = (server.address() as AddressInfo).port;
    this.configToml = [
      "[flags.unleash]",
      `url = "http://127.0.0.1:${this.#port}/api"`,
      'token = "env:UNLEASH_TOKEN"',
      "poll_ms = 50",
      "timeout_ms = 300",
      "",
    ].join("\n");
  }

  static async start(): Promise<UnleashStandIn> {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const standIn = new UnleashStandIn(server);
    standIn.#attend(server);
    return standIn;
  }

  async set(change: Partial<FlagState>): Promise<void> {
    this.#state = { ...this.#state, ...change };
  }

  /** Its process ends: connections break off, and new ones are refused. */
  async stop(): Promise<void> {
    if (!this.#server.listening) return;
    this.#server.close();
    this.#server.closeAllConnections();
    await once(this.#server, "close");
  }

  /** It is there again, at the same address. */
  async startAgain(): Promise<void> {
    const server = createServer();
    this.#attend(server);
    server.listen(this.#port, "127.0.0.1");
    await once(server, "listening");
    this.#server = server;
  }

  #attend(server: Server): void {
    server.on("request", (request: IncomingMessage, response: ServerResponse) => this.#answer(request, response));
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    request.resume();
    if (request.headers.authorization !== BACKEND_TOKEN) {
      response.writeHead(401).end();
      return;
    }
    if (request.url !== "/api/client/features") {
      response.writeHead(202).end(); // registrations and metrics
      return;
    }
    const { answering } = this;
    const document = JSON.stringify(clientFeatures(this.#state));
    switch (answering.kind) {
      case "document":
        response.writeHead(200, { "content-type": "application/json" }).end(document);
        return;
      case "text":
        response.writeHead(answering.status, { "content-type": answering.type }).end(answering.text);
        return;
      case "nothing":
        return;
      case "half":
        response.writeHead(200, { "content-type": "application/json", "content-length": document.length });
        response.write(document.slice(0, document.length / 2), () => response.destroy());
        return;
    }
  }
}
