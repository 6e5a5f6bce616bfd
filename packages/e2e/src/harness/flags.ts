import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";

export const STAGES = ["off", "dualwrite", "shadow", "live", "rampdown", "complete"] as const;
export type Stage = (typeof STAGES)[number];

/** What a test asks for; how it is asked depends on the provider. */
export interface FlagState {
  readonly enabled: boolean;
  readonly stage: Stage;
  readonly cohortPercent: number;
  readonly shadowPercent: number;
}

export const INITIAL_FLAGS: FlagState = { enabled: true, stage: "off", cohortPercent: 0, shadowPercent: 100 };

/** Where crossfade takes its flags from. Both kinds show it the same toggles. */
export interface FlagProvider {
  /** The `[flags]` part of crossfade.toml. */
  readonly configToml: string;
  /** Variables that the configuration refers to. */
  readonly env: Readonly<Record<string, string>>;
  set(change: Partial<FlagState>): Promise<void>;
  stop(): Promise<void>;
}

export const FLAG = {
  enabled: "crossfade.enabled",
  stage: "crossfade.users.stage",
  cohort: "crossfade.users.cohort",
  shadow: "crossfade.users.shadow",
} as const;

/** The chosen stage has all the weight; the others are listed, as a person would leave them in Unleash. */
export function stageVariants(chosen: Stage): object[] {
  return STAGES.map((name) => ({
    name,
    weight: name === chosen ? 1_000 : 0,
    weightType: name === chosen ? "variable" : "fix",
    stickiness: "default",
  }));
}

export function gradualRollout(flag: string, percent: number, stickiness: "default" | "userId" | "random") {
  return {
    name: "flexibleRollout",
    constraints: [],
    parameters: { rollout: String(percent), stickiness, groupId: flag },
  };
}

/** A file in the JSON that an Unleash server gives its clients. */
export class FlagsFile implements FlagProvider {
  readonly configToml: string;
  readonly env = {};
  readonly #path: string;
  #state: FlagState = INITIAL_FLAGS;

  private constructor(path: string) {
    this.#path = path;
    this.configToml = `[flags]\nfile = ${JSON.stringify(path)}\nreload_ms = 50\n`;
  }

  static async create(directory: string): Promise<FlagsFile> {
    const flags = new FlagsFile(join(directory, "flags.json"));
    await flags.set({});
    return flags;
  }

  /** Written aside and renamed: a reader never sees half a file. */
  async set(change: Partial<FlagState>): Promise<void> {
    this.#state = { ...this.#state, ...change };
    await writeFile(`${this.#path}.new`, JSON.stringify(clientFeatures(this.#state), undefined, 2));
    await rename(`${this.#path}.new`, this.#path);
  }

  async stop(): Promise<void> {}
}

/** The document that an Unleash server gives its clients. */
export function clientFeatures({ enabled, stage, cohortPercent, shadowPercent }: FlagState): object {
  const feature = (name: string, on: boolean, type: string, strategies: object[]) => ({
    name,
    type,
    enabled: on,
    project: "default",
    stale: false,
    impressionData: false,
    strategies,
    variants: [],
  });
  return {
    version: 2,
    features: [
      feature(FLAG.enabled, enabled, "kill-switch", [gradualRollout(FLAG.enabled, 100, "default")]),
      feature(FLAG.stage, true, "release", [
        { ...gradualRollout(FLAG.stage, 100, "default"), variants: stageVariants(stage) },
      ]),
      feature(FLAG.cohort, true, "release", [gradualRollout(FLAG.cohort, cohortPercent, "userId")]),
      feature(FLAG.shadow, true, "release", [gradualRollout(FLAG.shadow, shadowPercent, "random")]),
    ],
  };
}
