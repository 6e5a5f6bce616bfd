/** What a test and the page in the browser say to each other. */

/** How a page's client uses its socket. */
export type Mode = "single-store" | "multiplexed";

export interface PageOptions {
  readonly mode: Mode;
  readonly orgId: string;
}

/** A row or a part of one. */
export type Cells = Readonly<Record<string, string | number | boolean | null>>;

/** What a page can be asked for; `evaluate` carries arguments and results as JSON. */
export interface PageApi {
  /** Connects, and from then on again whenever the connection is lost; done once it has synchronized for the first time. */
  connect(options: PageOptions): Promise<void>;
  /** How often a connection has opened so far. */
  opened(): number;
  /** Whether one is open at this moment. */
  connected(): boolean;
  setUser(id: string, cells: Cells): void;
  editUser(id: string, cells: Cells): void;
  deleteUser(id: string): void;
  /** JSON of the table. */
  users(): string;
  /** JSON of the mergeable content; undefined is U+FFFC, as on the wire. */
  content(): string;
  /** Edits the names of these rows over and over, each with a greater number after the label. */
  startEditing(label: string, rows: readonly string[]): void;
  /** Stops that; the last number that was written to each row. */
  stopEditing(): Record<string, number>;
}

/** The page's globals: what it offers, and what the test gives it. */
export interface PageGlobals {
  readonly crossfadePage: PageApi;
  /** A signed-in user's session, as an identity provider's library gives it. */
  readonly sessionToken: () => Promise<string>;
}
