import { afterAll, beforeAll, beforeEach } from "vitest";
import { S3Proxy } from "../contract/s3-proxy.ts";
import { S3_KEYS, S3Server } from "./s3-server.ts";

/**
 * A real S3 server and a proxy in front of it for the tests of a block: there from the first to the last, and at the beginning of
 * each the proxy lets everything pass. Its keys are in the environment meanwhile, which processes that are started inherit.
 */
export function proxiedS3(): { readonly server: S3Server; readonly proxy: S3Proxy } {
  let server: S3Server;
  let proxy: S3Proxy;
  beforeAll(async () => {
    Object.assign(process.env, S3_KEYS);
    server = await S3Server.start();
    proxy = await S3Proxy.start(server.port);
  });
  afterAll(async () => {
    for (const name of Object.keys(S3_KEYS)) delete process.env[name];
    await proxy.stop();
    await server.stop();
  });
  beforeEach(() => {
    proxy.plan = () => undefined;
    proxy.seen.length = 0;
  });
  return {
    get server() {
      return server;
    },
    get proxy() {
      return proxy;
    },
  };
}
