import { expect, test, vi } from "vitest";
import { s3Options } from "../../src/objects/options.ts";
import { createS3Client } from "../../src/objects/s3-client.ts";

// A file of its own: the SDK speaks once, when its first client is made.
test("the SDK's word about Node's version is kept off the screen, and nothing else", () => {
  const emit = vi.spyOn(process, "emitWarning").mockImplementation(() => undefined);
  try {
    const variables = { ...process.env };
    createS3Client(s3Options.parse({})).destroy();
    expect(emit).not.toHaveBeenCalled();
    expect(process.env).toEqual(variables);
    process.emitWarning("something else");
    expect(emit).toHaveBeenCalledOnce();
  } finally {
    emit.mockRestore();
  }
});
