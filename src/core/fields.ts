/**
 * Sets a field whose name came from outside. A plain assignment to `__proto__` would change the object instead of
 * adding a field; objects without a prototype would avoid that too, but V8 keeps them as slow dictionaries.
 */
export function setField<T>(fields: Record<string, T>, name: string, value: T): void {
  if (name === "__proto__") {
    Object.defineProperty(fields, name, { value, writable: true, enumerable: true, configurable: true });
  } else {
    fields[name] = value;
  }
}
