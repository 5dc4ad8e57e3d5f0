import type { ParserSpec } from "../src/core/component.ts";
import cri from "./cri.ts";
import docker from "./docker.ts";
import envoy from "./envoy.ts";
import istio from "./istio.ts";
import json from "./json.ts";
import logfmt from "./logfmt.ts";
import regex from "./regex.ts";

/** Every parser by its name, in the order of the reference page. */
export const parsers = { json, logfmt, cri, docker, regex, envoy, istio } satisfies Record<string, ParserSpec>;
