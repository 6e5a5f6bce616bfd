import { accessSync, constants, existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { chromium, type Browser } from "playwright-core";

const ENTRY = fileURLToPath(new URL("../page/main.ts", import.meta.url));
/** What Chromium is called where system packages bring it. */
const BINARIES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const REMEDY =
  "run `cargo xtask setup`, which finds or installs it; or install a package `chromium`, or set CHROMIUM to a browser's path";

/** `$CHROMIUM`, or the first one on the path; undefined leaves it to what Playwright itself may have downloaded. */
function findChromium(): string | undefined {
  const { CHROMIUM: named, PATH = "" } = process.env;
  if (named !== undefined && named !== "") {
    if (!existsSync(named)) throw new Error(`CHROMIUM says ${named}, where no file is; ${REMEDY}`);
    return named;
  }
  const candidates = PATH.split(delimiter).flatMap((folder) => BINARIES.map((binary) => join(folder, binary)));
  return candidates.find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Headless Chromium. It ends with `close`, and at the latest with this process: Playwright kills it by its id. */
export async function launchChromium(): Promise<Browser> {
  const executablePath = findChromium();
  try {
    return await chromium.launch({ headless: true, ...(executablePath === undefined ? {} : { executablePath }) });
  } catch (error) {
    const tried = executablePath ?? "Playwright's own download";
    throw new Error(`no Chromium could be started from ${tried}: ${REMEDY}\n${String(error)}`);
  }
}

/** The page's code, bundled from `src/page` and the `tinybase` package as an application would do it. */
export async function bundlePage(): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [ENTRY],
    bundle: true,
    format: "iife",
    platform: "browser",
    target: "es2023",
    write: false,
    logLevel: "silent",
  });
  const [file] = outputFiles;
  if (file === undefined) throw new Error("esbuild gave no bundle");
  return file.text;
}
