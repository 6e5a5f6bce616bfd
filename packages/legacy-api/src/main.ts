import { startServer } from "./server.js";
import { readSettings, SettingsError } from "./settings.js";

try {
  const server = await startServer(readSettings(process.env));
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      server.stop().then(
        () => process.exit(0),
        (error: unknown) => {
          console.error(error);
          process.exit(1);
        },
      );
    });
  }
  // One JSON line on stdout tells whoever started this process that it serves, and where.
  console.log(JSON.stringify({ ready: true, port: server.port }));
} catch (error) {
  console.error(error instanceof SettingsError ? `legacy-api: ${error.message}` : error);
  process.exitCode = error instanceof SettingsError ? 2 : 1;
}
