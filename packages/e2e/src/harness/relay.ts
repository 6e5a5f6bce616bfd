import { createServer, request as httpRequest, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";

/** A request on its way to the legacy API, and how that answered. */
export interface Relayed {
  /** When its answer was there, in epoch milliseconds. */
  readonly at: number;
  readonly method: string;
  readonly path: string;
  readonly purpose: string | undefined;
  readonly body: unknown;
  readonly status: number;
}

/**
 * Stands between crossfade and the legacy API, changes nothing (but for answers that it is told to lose), and notes in which order requests were
 * answered. Where the API cannot be reached, the connection breaks off, as it would without a relay.
 */
export class Relay {
  readonly answered: Relayed[] = [];
  /** Whose answers are lost: the API has done it, and the connection breaks off. */
  loses: (relayed: Relayed) => boolean = () => false;
  readonly #server: Server;
  readonly #target: () => string;

  private constructor(target: () => string) {
    this.#target = target;
    this.#server = createServer((incoming, outgoing) => {
      this.#relay(incoming, outgoing).catch(() => outgoing.destroy());
    });
  }

  static async start(target: () => string): Promise<Relay> {
    const relay = new Relay(target);
    relay.#server.listen(0, "127.0.0.1");
    await once(relay.#server, "listening");
    return relay;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** What crossfade delivered and the API took, in order. */
  delivered(): Pick<Relayed, "method" | "path" | "body">[] {
    const taken = this.answered.filter(({ purpose, status }) => purpose === "deliver" && status < 300);
    return taken.map(({ method, path, body }) => ({ method, path, body }));
  }

  async stop(): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    await once(this.#server, "close");
  }

  async #relay(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const body = await bytesOf(incoming);
    const { method = "GET", url: path = "/", headers } = incoming;
    const forwarded = httpRequest(`${this.#target()}${path}`, { method, headers, agent: false });
    forwarded.end(body);
    const [answer] = (await once(forwarded, "response")) as [IncomingMessage];
    const answerBody = await bytesOf(answer);
    const purpose = headers["crossfade-purpose"];
    const relayed: Relayed = {
      at: Date.now(),
      method,
      path,
      purpose: typeof purpose === "string" ? purpose : undefined,
      body: body.length === 0 ? undefined : (JSON.parse(body.toString()) as unknown),
      status: answer.statusCode ?? 0,
    };
    this.answered.push(relayed);
    if (this.loses(relayed)) {
      outgoing.destroy();
      return;
    }
    outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
    outgoing.end(answerBody);
  }
}

async function bytesOf(stream: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
