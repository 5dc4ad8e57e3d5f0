import { describe, expect, test } from "vitest";
import { lineSinks } from "../../sinks/index.ts";
import store from "../../sinks/store.ts";
import { Line, type LineSink, NO_SOURCE } from "../../src/core/line.ts";
import { Metrics } from "../../src/core/metrics.ts";

describe("sinks", () => {
  test.each(Object.entries(lineSinks))(
    "%s is registered under its own name and works without options",
    (name, sink) => {
      expect(sink.name).toBe(name);
      expect(sink.options.parse({})).toEqual({});
      expect(sink.options.safeParse({ nonsense: 1 }).success).toBe(false);
    },
  );
});

test("the store sink hands lines to the store of its context", () => {
  const seen: unknown[] = [];
  const context: LineSink = {
    stream: (tenant, labels, canonical) => ({ tenant, labels, canonical }),
    append: (stream, line) => seen.push([stream.canonical, line.bytes.toString()]),
  };
  const sink = store.create({}, { metrics: new Metrics(), store: context });
  const line = new Line();
  line.bytes = Buffer.from("hello");
  sink.append(sink.stream("fake", { app: "web" }, '{"app":"web"}'), line, NO_SOURCE);
  expect(seen).toEqual([['{"app":"web"}', "hello"]]);
});
