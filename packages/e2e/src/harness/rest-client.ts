import {
  environmentManager,
  MutationObserver,
  QueryClient,
  QueryObserver,
  type QueryObserverResult,
} from "@tanstack/react-query";
import type { Issuer, Person } from "./issuer.js";
import type { NewUser, User, UserPage } from "./legacy-api.js";

// React Query takes Node for a server that renders pages and would not refetch; here it plays the browser.
environmentManager.setIsServer(() => false);

/** Which of the two paths answered, as crossfade says on mapped routes. */
export type Origin = "legacy" | "sync";

/** An answer that is not a success; it carries what the app would show. */
export class HttpError extends Error {
  override readonly name = "HttpError";

  constructor(
    readonly status: number,
    readonly contentType: string,
    readonly body: unknown,
  ) {
    super(`HTTP ${status}: ${JSON.stringify(body)}`);
  }
}

export interface Answered<T> {
  readonly origin: Origin | undefined;
  readonly body: T;
}

export type ListParams = Readonly<Record<string, string | number | boolean>>;

export interface RestClientOptions {
  readonly baseUrl: () => string;
  readonly issuer: Issuer;
  readonly person: Person;
}

/** The legacy app's data layer: React Query over REST, without React. */
export class RestClient {
  readonly #options: RestClientOptions;
  // A test wants to see the first error and to retry by itself; no timer may keep its process alive.
  readonly #queries = new QueryClient({
    defaultOptions: { queries: { retry: false, staleTime: 0, gcTime: Infinity }, mutations: { gcTime: Infinity } },
  });

  constructor(options: RestClientOptions) {
    this.#options = options;
    this.#queries.mount();
  }

  /** Stops every query, so that nothing keeps the process alive. */
  close(): void {
    this.#queries.unmount();
    this.#queries.clear();
  }

  async list(params: ListParams = {}): Promise<Answered<UserPage>> {
    return await this.#queries.fetchQuery({
      queryKey: ["users", "list", params],
      queryFn: () => this.request<UserPage>("GET", `/users${queryString(params)}`),
    });
  }

  async get(id: string): Promise<Answered<User>> {
    return await this.#queries.fetchQuery({
      queryKey: ["users", "one", id],
      queryFn: () => this.request<User>("GET", `/users/${encodeURIComponent(id)}`),
    });
  }

  /** A list on a screen: it is asked for again every so often, and after each mutation. */
  watchList(params: ListParams, everyMs: number): WatchedList {
    const observer = new QueryObserver<Answered<UserPage>>(this.#queries, {
      queryKey: ["users", "list", params],
      queryFn: () => this.request<UserPage>("GET", `/users${queryString(params)}`),
      refetchInterval: everyMs,
      refetchIntervalInBackground: true,
    });
    const unsubscribe = observer.subscribe(() => {});
    return { result: () => observer.getCurrentResult(), stop: unsubscribe };
  }

  async create(user: NewUser): Promise<Answered<User>> {
    return await this.#mutate(() => this.request<User>("POST", "/users", user));
  }

  async update(id: string, change: Partial<User>): Promise<Answered<User>> {
    return await this.#mutate(() => this.request<User>("PATCH", `/users/${encodeURIComponent(id)}`, change));
  }

  async delete(id: string): Promise<void> {
    await this.#mutate(() => this.request<undefined>("DELETE", `/users/${encodeURIComponent(id)}`));
  }

  /** One request with a fresh session token; anything but a success throws `HttpError`. */
  async request<T>(method: string, path: string, body?: unknown): Promise<Answered<T>> {
    const { baseUrl, issuer, person } = this.#options;
    const response = await fetch(`${baseUrl()}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${await issuer.session(person)}`,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      body: body === undefined ? null : JSON.stringify(body),
    });
    const text = await response.text();
    const parsed = text === "" ? undefined : (JSON.parse(text) as unknown);
    if (!response.ok) throw new HttpError(response.status, response.headers.get("content-type") ?? "", parsed);
    return { origin: (response.headers.get("crossfade-origin") ?? undefined) as Origin | undefined, body: parsed as T };
  }

  async #mutate<T>(request: () => Promise<T>): Promise<T> {
    const observer = new MutationObserver<T>(this.#queries, {
      mutationFn: request,
      onSettled: () => this.#queries.invalidateQueries({ queryKey: ["users"] }),
    });
    return await observer.mutate();
  }
}

export interface WatchedList {
  result(): QueryObserverResult<Answered<UserPage>>;
  stop(): void;
}

function queryString(params: ListParams): string {
  const text = new URLSearchParams(Object.entries(params).map(([name, value]): [string, string] => [name, String(value)]));
  return text.size === 0 ? "" : `?${text.toString()}`;
}
