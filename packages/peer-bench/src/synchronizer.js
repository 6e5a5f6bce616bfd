// A real TinyBase synchronizer, with its two ends held by the benchmark instead of a socket.
import { createCustomSynchronizer } from "tinybase/synchronizers";
import { createWsSynchronizer } from "tinybase/synchronizers/synchronizer-ws-client";

/** @typedef {import("tinybase").MergeableStore} MergeableStore */

/** A store that has nothing tells these hashes. */
const NOTHING = [0, 0];
const GET_CONTENT_HASHES = 1;
const CONTENT_DIFF = 3;

/**
 * The WebSocket client's synchronizer, in sync with a peer that has nothing. `receive` takes a frame's text.
 * @param {MergeableStore} store
 */
export async function overSocket(store) {
  const socket = new Socket();
  // The socket has what the synchronizer uses of a WebSocket.
  const synchronizer = await createWsSynchronizer(store, /** @type {any} */ (socket), 1);
  await synchronizer.startSync();
  return {
    receive: (/** @type {string} */ text) => socket.emit("message", { data: text }),
    destroy: () => synchronizer.destroy(),
  };
}

/**
 * The synchronizer below the frames: `receive` takes a ContentDiff's parsed body.
 * @param {MergeableStore} store
 */
export async function belowFrames(store) {
  /** @type {import("tinybase/synchronizers").Receive} */
  let receive = () => {};
  const synchronizer = createCustomSynchronizer(
    store,
    (_to, requestId, message) => {
      if (message === GET_CONTENT_HASHES) queueMicrotask(() => receive("S", requestId, 0, NOTHING));
    },
    (registered) => void (receive = registered),
    () => {},
    1,
  );
  await synchronizer.startSync();
  return {
    receive: (/** @type {unknown} */ body) => receive("S", "abcdefghijk", CONTENT_DIFF, body),
    destroy: () => synchronizer.destroy(),
  };
}

/** An open socket without a network. */
class Socket {
  readyState = 1;
  OPEN = 1;
  CLOSED = 3;
  protocol = "";
  /** @type {Map<string, Set<(event: unknown) => void>>} */
  #listeners = new Map();

  /** @param {string} event @param {(event: unknown) => void} listener */
  addEventListener(event, listener) {
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners.add(listener));
  }

  /** @param {string} event @param {(event: unknown) => void} listener */
  removeEventListener(event, listener) {
    this.#listeners.get(event)?.delete(listener);
  }

  /** @param {string} event @param {unknown} value */
  emit(event, value) {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) listener(value);
  }

  /** The peer answers a request for hashes; the rest asks for nothing. @param {string} text */
  send(text) {
    const [requestId, message] = JSON.parse(text.slice(text.indexOf("\n") + 1));
    if (message !== GET_CONTENT_HASHES) return;
    const answer = `S\n${JSON.stringify([requestId, 0, NOTHING])}`;
    queueMicrotask(() => this.emit("message", { data: answer }));
  }

  close() {
    this.readyState = this.CLOSED;
    this.emit("close", {});
  }
}
