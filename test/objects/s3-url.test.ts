import { describe, expect, test } from "vitest";
import { s3Options } from "../../src/objects/options.ts";
import { parseS3Url, withS3Options } from "../../src/objects/s3-url.ts";

describe("URLs of stores in S3", () => {
  test.each([
    { url: "s3://logs", bucket: "logs", prefix: "" },
    { url: "s3://logs/", bucket: "logs", prefix: "" },
    { url: "s3://logs/weir", bucket: "logs", prefix: "weir/" },
    { url: "S3://my.logs-1/a/b/", bucket: "my.logs-1", prefix: "a/b/" },
  ])("$url is bucket $bucket and prefix '$prefix'", ({ url, bucket, prefix }) => {
    expect(parseS3Url(url)).toEqual({ bucket, prefix, options: s3Options.parse({}) });
  });

  test("options stand in parameters", () => {
    const url = "s3://logs/weir?endpoint=http://127.0.0.1:9000&path_style=false&part_bytes=8388608&region=eu-1";
    expect(parseS3Url(url).options).toMatchObject({
      endpoint: "http://127.0.0.1:9000",
      path_style: false,
      part_bytes: 8_388_608,
      region: "eu-1",
    });
  });

  test.each([
    { url: "s3:", says: /no bucket/ },
    { url: "s3:///x", says: /bucket's name ""/ },
    { url: "s3://ab", says: /bucket's name "ab"/ },
    { url: "s3://logs/a//b", says: /prefix/ },
    { url: "s3://logs/a b", says: /prefix/ },
    { url: "s3://logs/../x", says: /prefix/ },
    { url: `s3://logs/${"a/".repeat(200)}`, says: /longer than 300 bytes/ },
    { url: "s3://logs/x?colour=red", says: /colour/ },
    { url: "s3://logs/x?part_bytes=1", says: /part_bytes/ },
    { url: "s3://logs/x?endpoint=ftp://host", says: /endpoint/ },
    { url: "s3://logs/x?sse_kms_key_id=k", says: /aws:kms/ },
    { url: "s3://logs/x#y", says: /no bucket/ },
  ])("refuses $url", ({ url, says }) => {
    expect(() => parseS3Url(url)).toThrow(
      expect.objectContaining({ code: "bad_store_url", message: expect.stringMatching(says) }),
    );
  });

  test("options of the configuration travel in the URL, whose own go first", () => {
    const options = s3Options.parse({ endpoint: "http://127.0.0.1:9000", region: "here", attempts: 7 });
    const url = withS3Options("s3://logs/weir?region=there", options);
    expect(parseS3Url(url)).toEqual({ bucket: "logs", prefix: "weir/", options: { ...options, region: "there" } });
    // Messages show the URL, so what nobody has set is not in it.
    expect(url).toBe("s3://logs/weir?endpoint=http%3A%2F%2F127.0.0.1%3A9000&region=there&attempts=7");
    expect(withS3Options("s3://logs/weir", s3Options.parse({}))).toBe("s3://logs/weir");
    expect(withS3Options("data/store", options)).toBe("data/store");
    expect(withS3Options("memory:", options)).toBe("memory:");
  });
});
