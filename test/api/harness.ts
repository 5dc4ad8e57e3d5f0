import type { DeleteService } from "../../src/api/delete-routes.ts";
import { httpOptions } from "../../src/api/options.ts";
import { type HttpServer, startHttp } from "../../src/api/server.ts";
import { silentLogger } from "../../src/core/log.ts";
import type { Engine } from "../../src/query/engine.ts";
import { makeStore, type StoreSetup, type TestStore } from "../query/run/harness.ts";

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

export interface TestApi extends TestStore {
  readonly server: HttpServer;
  /** `http://127.0.0.1:PORT`. */
  readonly base: string;
  /** What `/ready` says. */
  state: { ready: boolean; reason: string };
  get(path: string, init?: RequestInit): Promise<Answer>;
  /** A form body. */
  post(path: string, form: Record<string, string> | URLSearchParams, init?: RequestInit): Promise<Answer>;
}

export interface ApiSetup extends StoreSetup {
  readonly http?: Record<string, unknown>;
  /** Puts something in front of the engine. */
  readonly wrap?: (engine: Engine) => Engine;
  readonly deletes?: DeleteService;
}

/** The HTTP API over a store in memory, on a free port. */
export async function makeApi({
  http = {},
  wrap = (engine) => engine,
  deletes,
  ...setup
}: ApiSetup = {}): Promise<TestApi> {
  const store = await makeStore(setup);
  const shared = { state: { ready: true, reason: "" } };
  const server = await startHttp(httpOptions.parse({ listen: "127.0.0.1:0", ...http }), {
    engine: wrap(store.engine),
    ...(deletes === undefined ? {} : { deletes }),
    ready: () => shared.state,
    metrics: store.metrics,
    log: silentLogger,
    version: "9.9.9",
  });
  const base = `http://${server.address}`;
  const get = async (path: string, init: RequestInit = {}): Promise<Answer> => {
    const response = await fetch(base + path, init);
    return { status: response.status, headers: response.headers, text: await response.text() };
  };
  return Object.assign(shared, store, {
    server,
    base,
    get,
    post: (path: string, form: Record<string, string> | URLSearchParams, init: RequestInit = {}) =>
      get(path, { ...init, method: "POST", body: new URLSearchParams(form) }),
    async close() {
      await server.close();
      await store.close();
    },
  });
}

/** `?a=b&…` */
export function queryString(params: Record<string, string>): string {
  return `?${new URLSearchParams(params)}`;
}
