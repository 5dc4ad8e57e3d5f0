/** What stands after the backslash of a simple escape in a quoted text of Go, which LogQL's and Prometheus' are. */
export const GO_ESCAPES: Readonly<Record<string, string>> = {
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
  "\\": "\\",
  '"': '"',
};
