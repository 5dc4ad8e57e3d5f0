import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { filesEndingIn, ROOT, read } from "./files.ts";

const PAGES = ["README.md", "CHANGELOG.md", ...filesEndingIn(["docs"], ".md")];

/** The text without what stands in code: a link in an example is no link. */
function prose(markdown: string): string {
  return markdown.replace(/^(```|~~~)[\s\S]*?^\1/gm, "").replace(/`[^`\n]*`/g, "");
}

/** The anchors that headings get: lower case, punctuation gone, spaces to hyphens. */
function anchorsOf(markdown: string): string[] {
  return [...markdown.replace(/^(```|~~~)[\s\S]*?^\1/gm, "").matchAll(/^#{1,6} +(.+?) *$/gm)].map((match) =>
    (match[1] ?? "")
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, "")
      .replace(/\s/g, "-"),
  );
}

describe("links", () => {
  const links = PAGES.flatMap((page) =>
    [...prose(read(page)).matchAll(/\]\(([^)\s]+)\)/g)].map((match) => ({ page, link: match[1] ?? "" })),
  ).filter(({ link }) => !/^[a-z]+:/.test(link));

  test("there are some", () => {
    expect(links.length).toBeGreaterThan(5);
  });

  test.each(links)("$page: $link", ({ page, link }) => {
    const [path = "", anchor] = link.split("#");
    const target = path === "" ? page : join(dirname(page), path);
    expect(existsSync(join(ROOT, target)), `${target} is not there`).toBe(true);
    if (anchor !== undefined) expect(anchorsOf(read(target))).toContain(anchor);
  });
});
