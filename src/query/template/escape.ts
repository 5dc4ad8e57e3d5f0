const HTML: Readonly<Record<string, string>> = {
  "\0": "\ufffd",
  '"': "&#34;",
  "'": "&#39;",
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
};

/** Go's template.HTMLEscapeString. */
export function escapeHtml(text: string): string {
  return text.replace(/[\0"'&<>]/g, (c) => HTML[c]);
}

const JS: Readonly<Record<string, string>> = {
  "\\": "\\\\",
  "'": "\\'",
  '"': '\\"',
  "<": "\\u003C",
  ">": "\\u003E",
  "&": "\\u0026",
  "=": "\\u003D",
};

/** Go's template.JSEscapeString. */
export function escapeJs(text: string): string {
  return text.replace(/[\\'"<>&=\x00-\x1f]|[^\x00-\x7f]/gu, (c) => {
    const known = JS[c];
    if (known !== undefined) return known;
    const code = c.codePointAt(0) ?? 0;
    // Space characters other than the plain one are not printable in Go's sense.
    if (code > 0x7f && /[\p{L}\p{M}\p{N}\p{P}\p{S}]/u.test(c)) return c;
    return `\\u${code.toString(16).toUpperCase().padStart(4, "0")}`;
  });
}

/** Go's url.QueryEscape: everything but letters, digits and `-_.~`; a space becomes `+`. */
export function queryEscape(text: string): string {
  return encodeURIComponent(Buffer.from(text).toString())
    .replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll("%20", "+");
}

/** Go's url.QueryUnescape; gives its complaint for a broken escape. */
export function queryUnescape(text: string): { text: string } | { error: string } {
  const broken = /%(?![0-9a-fA-F]{2}).{0,2}/su.exec(text);
  if (broken !== null) return { error: `invalid URL escape ${JSON.stringify(broken[0])}` };
  const plain = text.replaceAll("+", " ");
  if (!plain.includes("%")) return { text: plain };
  const bytes = plain.replace(/%([0-9a-fA-F]{2})|[^\x00-\x7f]+/g, (part, hex?: string) =>
    hex === undefined ? Buffer.from(part).toString("latin1") : String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return { text: Buffer.from(bytes, "latin1").toString("utf8") };
}
