import { Writable } from "node:stream";
import { expect, test } from "vitest";
import nothing from "../../sinks/null.ts";
import { printTo } from "../../sinks/stdout.ts";
import { record, recordSinkContract, records, type SinkUnderTest } from "../contract/sinks.ts";
import { deps } from "./destinations.ts";

const NEVER = new AbortController().signal;

/** A standard output whose reader does what it is told. */
class Reader {
  bytes: Buffer = Buffer.alloc(0);
  state: "reads" | "gone" | "asleep" = "reads";
  readonly stream = new Writable({
    emitClose: false,
    autoDestroy: false,
    write: (chunk: Buffer, _encoding, done) => {
      if (this.state === "asleep") return;
      if (this.state === "gone") return done(Object.assign(new Error("write EPIPE"), { code: "EPIPE" }));
      this.bytes = Buffer.concat([this.bytes, chunk]);
      done();
    },
  });
}

const envelopes = (bytes: Buffer) =>
  bytes
    .toString()
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as { line: string; line_base64?: string })
    .map(({ line, line_base64 }) =>
      line_base64 === undefined ? Buffer.from(line) : Buffer.from(line_base64, "base64"),
    );

const openContract = async (): Promise<SinkUnderTest> => {
  const reader = new Reader();
  return {
    sink: printTo(reader.stream, "json"),
    taken: async () => envelopes(reader.bytes),
    hang: () => {
      reader.state = "asleep";
    },
    close: async () => {},
  };
};
// Where its reader is gone, which the test below has, it does not come back.
recordSinkContract("stdout", openContract, { isAlwaysThere: true, alwaysAnswers: false });

recordSinkContract(
  "null",
  async () => ({ sink: nothing.open({}, deps()), taken: async () => [], close: async () => {} }),
  { forgets: true, isAlwaysThere: true },
);

test("a standard output whose reader is gone is a destination that is away, not the end of the process", async () => {
  const reader = new Reader();
  const sink = printTo(reader.stream, "line");
  reader.state = "gone";
  await expect(sink.write(records(["a"]), NEVER)).rejects.toMatchObject({ code: "sink_unavailable", retriable: true });
  await sink.close();
});

test.each([
  { form: "line" as const, want: "a b\n" },
  { form: "record" as const, want: '{"log":"a b","n":0}\n' },
])("prints a record as $form", async ({ form, want }) => {
  const reader = new Reader();
  const sink = printTo(reader.stream, form);
  await sink.write([record(0, "a b")], NEVER);
  expect(reader.bytes.toString()).toBe(want);
  await sink.close();
});
