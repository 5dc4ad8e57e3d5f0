/** Names that are remembered; should they be more, it begins anew. */
const NAMES_MAX = 4096;
/** Longest name that is remembered, so that all of them together take a few megabytes at most, whatever comes. */
const NAME_CHARS_MAX = 256;

/** A function of a name that remembers what it gave: clients send the same few names with each line. */
export function rememberedByName<T extends string>(make: (name: string) => T): (name: string) => T {
  const known = new Map<string, T>();
  return (name) => {
    let made = known.get(name);
    if (made === undefined) {
      made = make(name);
      if (name.length > NAME_CHARS_MAX) return made;
      if (known.size >= NAMES_MAX) known.clear();
      known.set(name, made);
    }
    return made;
  };
}
