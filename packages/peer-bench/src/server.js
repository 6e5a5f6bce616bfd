// TinyBase's own server, as its documentation starts it.
//
//   node src/server.js [DIRECTORY]     without a directory a pure relay, which keeps nothing;
//                                      with one each path's store is kept in a JSON file there.
//
// Prints `{"ready":true,"port":…}`. A line on standard input is answered by a line: `gc` collects garbage,
// so that what is measured then is held. When standard input ends, so does the process.
import { createInterface } from "node:readline";
import { join } from "node:path";
import { createMergeableStore } from "tinybase";
import { createFilePersister } from "tinybase/persisters/persister-file";
import { createWsServer } from "tinybase/synchronizers/synchronizer-ws-server";
import { WebSocketServer } from "ws";

const [directory] = process.argv.slice(2);

const sockets = new WebSocketServer({ host: "127.0.0.1", port: 0 });
const persister = (/** @type {string} */ path) =>
  createFilePersister(
    createMergeableStore(),
    join(/** @type {string} */ (directory), `${encodeURIComponent(path)}.json`),
    (error) => {
      // The file of a new path is not there, or is the empty one that TinyBase has just made.
      if (error?.code !== "ENOENT" && !(error instanceof SyntaxError)) console.error("persister:", error);
    },
  );
const server = directory === undefined ? createWsServer(sockets) : createWsServer(sockets, persister);

sockets.once("listening", () => {
  const address = sockets.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  console.log(JSON.stringify({ ready: true, port }));
});

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => {
  if (line === "gc") globalThis.gc?.();
  console.log(JSON.stringify({ done: line }));
});
const stop = () => void server.destroy().finally(() => process.exit(0));
lines.once("close", stop);
process.once("SIGTERM", stop);
