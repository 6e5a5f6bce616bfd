import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

/**
 * Stands between a client and crossfade, and cuts the wire: what is connected is reset in both directions, and nothing
 * gets through until it is mended.
 */
export class CuttingProxy {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #whole = true;

  private constructor(target: URL) {
    this.#server = createServer((incoming) => this.#accept(incoming, target));
  }

  static async start(target: string): Promise<CuttingProxy> {
    const proxy = new CuttingProxy(new URL(target));
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  cut(): void {
    this.#whole = false;
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  mend(): void {
    this.#whole = true;
  }

  async stop(): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, "close");
  }

  #accept(incoming: Socket, { hostname, port }: URL): void {
    if (!this.#whole) {
      incoming.resetAndDestroy();
      return;
    }
    const outgoing = connect(Number(port), hostname);
    const ends = [incoming, outgoing] as const;
    for (const end of ends) {
      this.#sockets.add(end);
      end.setNoDelay(true);
      end.on("error", () => {}); // the close that follows is what counts
      end.on("close", () => {
        this.#sockets.delete(end);
        for (const other of ends) other.destroy();
      });
    }
    incoming.pipe(outgoing).pipe(incoming);
  }
}
