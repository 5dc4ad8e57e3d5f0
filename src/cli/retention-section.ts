import { messageOf } from "../core/errors.ts";
import { compileStreamSelector } from "../query/deletes.ts";
import { retentionOptions } from "../store/retention-options.ts";

/** The `retention:` part of the configuration, whose selectors are checked as the language has them. */
export const retentionSection = retentionOptions((selector) => {
  try {
    compileStreamSelector(selector);
    return null;
  } catch (error) {
    return messageOf(error);
  }
});
