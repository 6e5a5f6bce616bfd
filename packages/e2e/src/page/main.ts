/** The page: a TinyBase store that a test drives from outside. Bundled for the browser when a test opens it. */

import { createMergeableStore } from "tinybase";
import type { Cells, PageApi, PageGlobals, PageOptions } from "./api.js";
import { connectMultiplexed, connectSingleStore, type Connection } from "./connection.js";

/** Slow enough that legacy, which is owed every one of them, keeps up on a busy machine. */
const PACE_MS = 10;
const UNDEFINED = "\uFFFC";

const globals = globalThis as unknown as { -readonly [Name in keyof PageGlobals]: PageGlobals[Name] };
const store = createMergeableStore();
let written: Record<string, number> = {};
let connection: Connection | undefined;
let editing: ReturnType<typeof setInterval> | undefined;
let edits = 0;

const page: PageApi = {
  async connect({ mode, orgId }: PageOptions): Promise<void> {
    const connect = mode === "multiplexed" ? connectMultiplexed : connectSingleStore;
    connection = await connect(store, () => globals.sessionToken(), orgId);
  },
  opened: () => connection?.opened() ?? 0,
  connected: () => connection?.connected() ?? false,
  setUser: (id: string, cells: Cells) => void store.setRow("users", id, { ...cells }),
  editUser: (id: string, cells: Cells) => void store.setPartialRow("users", id, { ...cells }),
  deleteUser: (id: string) => void store.delRow("users", id),
  users: () => JSON.stringify(store.getTable("users")),
  content: () => JSON.stringify(store.getMergeableContent(), (_key, value: unknown) => (value === undefined ? UNDEFINED : value)),
  startEditing(label: string, rows: readonly string[]): void {
    written = {};
    editing = setInterval(() => {
      const row = rows[edits % rows.length];
      if (row === undefined) return;
      edits += 1;
      store.setCell("users", row, "name", `${label} ${edits}`);
      written[row] = edits;
    }, PACE_MS);
  },
  stopEditing(): Record<string, number> {
    clearInterval(editing);
    return written;
  },
};

globals.crossfadePage = page;
