import { queryEscape, queryUnescape } from "./escape.ts";
import { parseJson } from "./json-value.ts";
import { CallFailure } from "./run.ts";
import { ofTexts, type TemplateFunction } from "./signature.ts";

export const encodings: Readonly<Record<string, TemplateFunction>> = {
  b64enc: ofTexts(1, (s) => Buffer.from(s).toString("base64")),
  b64dec: ofTexts(1, decodeBase64),
  urlencode: ofTexts(1, queryEscape),
  urldecode: ofTexts(1, (s) => {
    const decoded = queryUnescape(s);
    if ("error" in decoded) throw new CallFailure(decoded.error);
    return decoded.text;
  }),
  fromJson: ofTexts(1, parseJson),
};

/** Padding that is missing is added. What can't be decoded gives Go's error text as its value. */
function decodeBase64(text: string): string {
  const clean = text.replace(/[\r\n]/g, "");
  const wrong = /[^A-Za-z0-9+/]/.exec(clean.replace(/={1,2}$/, ""));
  if (wrong !== null) return `illegal base64 data at input byte ${Buffer.byteLength(clean.slice(0, wrong.index))}`;
  const digits = clean.replace(/=+$/, "");
  if (digits.length % 4 === 1) return `illegal base64 data at input byte ${Math.max(0, digits.length - 1)}`;
  return Buffer.from(digits, "base64").toString("utf8");
}
