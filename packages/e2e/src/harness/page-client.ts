import type { Browser, Page } from "playwright-core";
import type { Cells, Mode, PageGlobals } from "../page/api.js";
import type { Person } from "./issuer.js";
import { CuttingProxy } from "./cutting-proxy.js";
import { waitFor } from "./wait.js";
import type { World } from "./world.js";

declare const globalThis: PageGlobals;

/** A TinyBase client in a page of a real browser, on a wire of its own that can be cut. */
export class PageClient {
  readonly name: string;
  readonly #page: Page;
  readonly #wire: CuttingProxy;
  /** What nothing in the page caught. */
  readonly #errors: string[] = [];
  /** What the page last said to its console, which the browser uses too. */
  #said = "";

  private constructor(name: string, page: Page, wire: CuttingProxy) {
    this.name = name;
    this.#page = page;
    this.#wire = wire;
    page.on("pageerror", (error) => this.#errors.push(error.message));
    page.on("console", (message) => (this.#said = message.text()));
  }

  /**
   * Opens a page and waits until it is connected. Its code runs in an answer of the legacy API, so that crossfade is its own
   * origin, behind the wire: to Chromium, a document that the test makes up would be a stranger who may not reach loopback.
   */
  static async open(world: World, browser: Browser, bundle: string, mode: Mode, person: Person): Promise<PageClient> {
    const wire = await CuttingProxy.start(world.crossfade.url);
    world.onEnd(() => wire.stop());
    const context = await browser.newContext();
    world.onEnd(() => context.close());
    const page = await context.newPage();
    const client = new PageClient(`the ${mode} page`, page, wire);
    await page.exposeFunction("sessionToken", () => world.issuer.session(person));
    await page.goto(`${wire.url}/healthz`);
    await page.addScriptTag({ content: bundle });
    await page.evaluate((options) => void globalThis.crossfadePage.connect(options), { mode, orgId: person.orgId });
    await client.untilOpenedAfter(0);
    return client;
  }

  /** Cuts the wire, and waits until the page has noticed. */
  async cut(): Promise<void> {
    this.#wire.cut();
    await waitFor(`${this.name} to lose its connection`, async () => !(await this.connected()));
  }

  /** Mends the wire, and waits for a connection that was not there before. */
  async mend(): Promise<void> {
    const before = await this.opened();
    this.#wire.mend();
    await this.untilOpenedAfter(before);
  }

  async untilOpenedAfter(before: number): Promise<void> {
    const isOpen = async () => (await this.opened()) > before && (await this.connected());
    await waitFor(`${this.name} to connect`, isOpen, () => [this.#said, ...this.#errors]);
  }

  async opened(): Promise<number> {
    return await this.#page.evaluate(() => globalThis.crossfadePage.opened());
  }

  async connected(): Promise<boolean> {
    return await this.#page.evaluate(() => globalThis.crossfadePage.connected());
  }

  async setUser(id: string, cells: Cells): Promise<void> {
    await this.#page.evaluate(([id, cells]) => globalThis.crossfadePage.setUser(id, cells), [id, cells] as const);
  }

  async edit(id: string, cells: Cells): Promise<void> {
    await this.#page.evaluate(([id, cells]) => globalThis.crossfadePage.editUser(id, cells), [id, cells] as const);
  }

  async deleteUser(id: string): Promise<void> {
    await this.#page.evaluate((id) => globalThis.crossfadePage.deleteUser(id), id);
  }

  async users(): Promise<Record<string, Cells>> {
    return JSON.parse(await this.#page.evaluate(() => globalThis.crossfadePage.users())) as Record<string, Cells>;
  }

  /** The mergeable content, as `sync-client`'s tells it. */
  async content(): Promise<unknown> {
    return JSON.parse(await this.#page.evaluate(() => globalThis.crossfadePage.content()));
  }

  async startEditing(label: string, rows: readonly string[]): Promise<void> {
    await this.#page.evaluate(([label, rows]) => globalThis.crossfadePage.startEditing(label, rows), [label, rows] as const);
  }

  async stopEditing(): Promise<Record<string, number>> {
    return await this.#page.evaluate(() => globalThis.crossfadePage.stopEditing());
  }

  /** Errors that nothing in the page caught. */
  errors(): readonly string[] {
    return this.#errors;
  }
}
