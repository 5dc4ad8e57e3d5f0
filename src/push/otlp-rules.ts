import { RESOURCE_ATTRIBUTES } from "../core/resource-attributes.ts";
import { rememberedByName } from "./by-name.ts";
import { type AttributeAction, type AttributeRule, compileAttributeRegex, type OtlpConfig } from "./otlp-options.ts";

/** Says what becomes of an attribute, by its name. */
type Rules = (name: string) => AttributeAction;

/** What a tenant's `otlp_config` says, made ready for many records. */
export interface OtlpRules {
  readonly ofResource: Rules;
  readonly ofScope: Rules;
  readonly ofRecord: Rules;
  readonly isSeverityLabel: boolean;
}

const known = new WeakMap<OtlpConfig, OtlpRules>();

/** The rules of a configuration, compiled once. */
export function otlpRules(config: OtlpConfig): OtlpRules {
  let rules = known.get(config);
  if (rules === undefined) {
    const { ignore_defaults: isBare, attributes_config: own } = config.resource_attributes;
    const defaults: AttributeRule = { action: "index_label", attributes: RESOURCE_ATTRIBUTES };
    rules = {
      ofResource: compile(isBare ? own : [defaults, ...own]),
      ofScope: compile(config.scope_attributes),
      ofRecord: compile(config.log_attributes),
      isSeverityLabel: config.severity_text_as_label,
    };
    known.set(config, rules);
  }
  return rules;
}

/** The first rule that fits counts. */
function compile(rules: readonly AttributeRule[]): Rules {
  if (rules.length === 0) return () => "structured_metadata";
  const compiled = rules.map(({ action, attributes, regex }) => {
    const names = new Set(attributes);
    const pattern = regex === undefined ? null : compileAttributeRegex(regex);
    return { action, fits: (name: string) => names.has(name) || (pattern?.test(name) ?? false) };
  });
  return rememberedByName((name) => compiled.find(({ fits }) => fits(name))?.action ?? "structured_metadata");
}
