import { describe, expect, test } from "vitest";
import { decimalBytes, parseTraceIdQuery, skyWalkingBytes, skyWalkingSpanBytes } from "../../src/core/trace-id.ts";

describe("SkyWalking ids", () => {
  test.each([
    ["a4ec6fc8ccab4bb4b682064698cc97e6.74.16218381104550009", "a4ec6fc886ab4bb4cf12975a1052aee6"],
    ["a4ec6fc8ccab4bb4b682064698cc97e6.74.16218381104550008", "a4ec6fc886ab4bb4ce12975a1052aee6"],
    ["56a5e1c519ae4c76a2b8b11d92cead7f.12.16563474296430001", "56a5e1c515ae4c7613e51e7cf616977f"],
    ["0af76519-16cd-43dd-8448-eb211c80319c", "0af7651916cd43dd8448eb211c80319c"],
    ["0AF7651916CD43DD8448EB211C80319C", "0af7651916cd43dd8448eb211c80319c"],
  ])("%s", (text, hex) => expect(skyWalkingBytes(text)?.toString("hex")).toBe(hex));

  test.each([
    "",
    "N/A",
    "1234",
    "0af7651916cd43dd8448eb211c80319",
    "0af7651916cd43dd8448eb211c80319c.1",
    "0af76519-16cd43dd-8448-eb21-1c80319c",
  ])("refuses %j", (text) => expect(skyWalkingBytes(text)).toBeNull());

  test("a span is its segment's id with the number worked in, folded to 8 bytes", () => {
    expect(skyWalkingSpanBytes("a4ec6fc8ccab4bb4b682064698cc97e6.74.16218381104550008", 2)?.toString("hex")).toBe(
      "68fef89296f9e552",
    );
    expect(skyWalkingSpanBytes("not an id", 2)).toBeNull();
  });
});

describe("decimalBytes", () => {
  test.each([
    ["1234567890123456789", "112210f47de98115"],
    ["18446744073709551615", "ffffffffffffffff"],
    ["0", "0000000000000000"],
  ])("%s", (text, hex) => expect(decimalBytes(text)?.toString("hex")).toBe(hex));
  test.each(["18446744073709551616", "-1", "1.5", "", "1e3", "123456789012345678901"])("refuses %j", (text) =>
    expect(decimalBytes(text)).toBeNull(),
  );
});

describe("parseTraceIdQuery", () => {
  const forms = (text: string) =>
    parseTraceIdQuery(text).map(({ low8, exact16 }) =>
      exact16 === undefined ? low8.toString("hex") : exact16.toString("hex"),
    );

  test.each([
    { name: "32 hex digits", text: "0af7651916cd43dd8448eb211c80319c", want: ["0af7651916cd43dd8448eb211c80319c"] },
    {
      name: "upper case and spaces",
      text: " 0AF7651916CD43DD8448EB211C80319C\n",
      want: ["0af7651916cd43dd8448eb211c80319c"],
    },
    { name: "16 hex digits", text: "8448eb211c80319c", want: ["8448eb211c80319c"] },
    { name: "zero-padded", text: "00000000000000008448eb211c80319c", want: ["8448eb211c80319c"] },
    { name: "Jaeger's, without leading zeros", text: "51729f13a64c2ef", want: ["051729f13a64c2ef"] },
    {
      name: "Jaeger's 128 bits, without leading zeros",
      text: "af7651916cd43dd8448eb211c80319c",
      want: ["0af7651916cd43dd8448eb211c80319c"],
    },
    { name: "decimal", text: "12345678901234567890", want: ["00000000000012345678901234567890", "ab54a98ceb1f0ad2"] },
    { name: "16 digits have two readings", text: "1234567890123456", want: ["1234567890123456", "000462d53c8abac0"] },
    { name: "X-Ray", text: "1-5759e988-bd862e3fe1be46a994272793", want: ["5759e988bd862e3fe1be46a994272793"] },
    {
      name: "X-Ray with Root=",
      text: "Root=1-5759e988-bd862e3fe1be46a994272793",
      want: ["5759e988bd862e3fe1be46a994272793"],
    },
    { name: "UUID", text: "0af76519-16cd-43dd-8448-eb211c80319c", want: ["0af7651916cd43dd8448eb211c80319c"] },
    {
      name: "raw SkyWalking",
      text: "a4ec6fc8ccab4bb4b682064698cc97e6.74.16218381104550009",
      want: ["a4ec6fc886ab4bb4cf12975a1052aee6"],
    },
    {
      name: "traceparent",
      text: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
      want: ["0af7651916cd43dd8448eb211c80319c"],
    },
    { name: "zeros", text: "00000000000000000000000000000000", want: [] },
    { name: "zero", text: "0", want: [] },
    { name: "too many digits", text: "0af7651916cd43dd8448eb211c80319c0", want: [] },
    { name: "a word", text: "hello", want: [] },
    { name: "nothing", text: "", want: [] },
    {
      name: "a low half of zeros is an id when the high half is not",
      text: "0af7651916cd43dd0000000000000000",
      want: ["0af7651916cd43dd0000000000000000"],
    },
  ])("$name", ({ text, want }) => expect(forms(text).sort()).toEqual([...want].sort()));

  test("the low half goes with every candidate", () => {
    const [candidate] = parseTraceIdQuery("0af7651916cd43dd8448eb211c80319c");
    expect(candidate?.low8.toString("hex")).toBe("8448eb211c80319c");
  });
});
