import { describe, expect, test } from "vitest";
import cri from "../../parsers/cri.ts";
import docker from "../../parsers/docker.ts";
import { Random } from "../random.ts";

describe("cri parser", () => {
  const parse = cri.create(cri.options.parse({}));

  test.each([
    {
      name: "keeps spaces inside the message",
      line: "T stdout F a  b ",
      gives: { time: "T", stream: "stdout", logtag: "F", message: "a  b " },
    },
    {
      name: "marks a cut line",
      line: "T stderr P first half",
      gives: { time: "T", stream: "stderr", logtag: "P", message: "first half" },
    },
    {
      name: "accepts an empty message",
      line: "T stderr F ",
      gives: { time: "T", stream: "stderr", logtag: "F", message: "" },
    },
    {
      name: "accepts a missing message",
      line: "T stderr F",
      gives: { time: "T", stream: "stderr", logtag: "F", message: "" },
    },
    {
      name: "passes over further tags",
      line: "T stdout P:x:y a",
      gives: { time: "T", stream: "stdout", logtag: "P", message: "a" },
    },
    {
      name: "keeps newlines in the message",
      line: "T stdout F a\nb\n",
      gives: { time: "T", stream: "stdout", logtag: "F", message: "a\nb\n" },
    },
    {
      name: "keeps a space before the message",
      line: "T stdout F  \tat x",
      gives: { time: "T", stream: "stdout", logtag: "F", message: " \tat x" },
    },
  ])("$name", ({ line, gives }) => {
    expect(parse(line)).toEqual(gives);
  });

  test.each([
    "",
    " ",
    "T",
    "T stdout",
    "T stdout ",
    "T stdlog F x",
    "T stdout X x",
    "T stdout Fx",
    "T  stdout F x",
    " stdout F x",
    "T stdoutF x",
    "T stdout f x",
  ])("refuses %j", (line) => {
    expect(parse(line)).toBeNull();
  });

  test("the message may take the place of another field", () => {
    expect(cri.create({ message_key: "stream" })("T stdout F x")).toEqual({ time: "T", stream: "x", logtag: "F" });
  });

  test("agrees with the format's regular expression", () => {
    const random = new Random();
    const pattern = /^([^ ]+) (stdout|stderr) ([FP])(?::[^ ]*)?(?: (.*)|())$/s;
    const alphabet = [" ", "F", "P", ":", "\n", "stdout", "stderr", "x"];
    let taken = 0;
    for (let i = 0; i < 100_000; i++) {
      const line = random.mutate("2024-05-01T09:00:00.5Z stdout F a b", alphabet);
      const match = pattern.exec(line);
      const want =
        match === null ? null : { time: match[1], stream: match[2], logtag: match[3], message: match[4] ?? "" };
      if (want !== null) taken++;
      const got = parse(line);
      if (JSON.stringify(got) !== JSON.stringify(want)) expect({ line, got }).toEqual({ line, got: want });
    }
    expect(taken).toBeGreaterThan(1000);
  });
});

describe("docker parser", () => {
  const parse = docker.create({});
  const envelope = (log: string) => JSON.stringify({ log, stream: "stdout", time: "T" });

  test.each([
    { name: "strips one newline", log: "a\n", gives: "a", logtag: "F" },
    { name: "strips no more than one", log: "a\n\n", gives: "a\n", logtag: "F" },
    { name: "keeps a carriage return", log: "a\r\n", gives: "a\r", logtag: "F" },
    { name: "an empty line", log: "\n", gives: "", logtag: "F" },
    { name: "a piece", log: "a", gives: "a", logtag: "P" },
    { name: "escapes", log: '{"a":"\\u001b[0m"}\n', gives: '{"a":"\\u001b[0m"}', logtag: "F" },
  ])("$name", ({ log, gives, logtag }) => {
    expect(parse(envelope(log))).toEqual({ log: gives, stream: "stdout", time: "T", logtag });
  });

  test("keeps attrs", () => {
    expect(parse('{"log":"a\\n","stream":"stdout","attrs":{"tag":"x"},"time":"T"}')).toMatchObject({
      attrs: { tag: "x" },
    });
  });

  test.each([
    '{"log":"a"}',
    '{"log":"a","stream":"stdout"}',
    '{"log":1,"stream":"stdout","time":"T"}',
    '{"log":"a","stream":"stdout","time":5}',
    "a",
    "",
  ])("refuses %j", (line) => {
    expect(parse(line)).toBeNull();
  });
});
