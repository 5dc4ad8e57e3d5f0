import { createHash } from "node:crypto";
import { z } from "zod";
import type { Logger } from "../../src/core/log.ts";
import { answerText, type ElasticAnswer, type ElasticClient } from "./elastic-client.ts";
import type { DocumentForm } from "./elastic-document.ts";

/*
 * A composable index template, so that indices have good mappings from their first document on: times with nanoseconds, the line as text
 * to search in, every other text as a keyword, and no guessing of dates. Works on Elasticsearch from 7.8 on and on OpenSearch.
 *
 * Weir's own are known by `_meta.managed_by`; `version` is that of their contents as Weir writes them, `_meta.digest` tells whether the
 * options are still the same.
 */
const VERSION = 1;
const OWNER = "weir";
/** Longer texts are kept and shown, and found by the line they stand in. In characters; Lucene ends at 32,766 bytes. */
const KEYWORD_CHARS_MAX = 1024;
/** Fields of the schema and the objects around them; an index may have as many fields as a user allows, and these. */
const FIXED_FIELDS = 100;
/** What an index has if nobody says anything. */
const FIELDS_MAX_DEFAULT = 1000;

export interface TemplateWanted {
  readonly name: string;
  readonly pattern: string;
  readonly priority: number;
  readonly settings: Readonly<Record<string, unknown>>;
  readonly isStream: boolean;
  readonly form: DocumentForm;
  readonly fieldsMax: number;
}

const found = z.object({
  index_templates: z
    .array(
      z.object({
        index_template: z.object({
          version: z.number().optional(),
          _meta: z.object({ managed_by: z.unknown(), digest: z.unknown() }).partial().optional(),
        }),
      }),
    )
    .min(1),
});

/**
 * Puts the template in place if it is not there, or is an older one of Weir's. One of somebody else's is left as it is, which is logged.
 * Rejects with `sink_unavailable` when it can't be put there.
 */
export async function installTemplate(
  wanted: TemplateWanted,
  client: ElasticClient,
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  const path = `/_index_template/${encodeURIComponent(wanted.name)}`;
  const template = templateFor(wanted);
  const there = await client.send({ method: "GET", path, query: {} }, signal);
  let isNew = true;
  if (there.status !== 404) {
    const known = found.safeParse(there.status === 200 ? there.body : null);
    if (!known.success) throw client.unavailable(`index template ${wanted.name}: answers ${answerText(there)}`);
    const { version = 0, _meta } = known.data.index_templates[0].index_template;
    if (_meta?.managed_by !== OWNER) {
      log.warn({ template: wanted.name }, `index template ${wanted.name} is not Weir's, and is left as it is`);
      return;
    }
    if (version > VERSION || (version === VERSION && _meta.digest === template._meta.digest)) return;
    isNew = false;
  }
  const put = await client.send(
    {
      method: "PUT",
      path,
      // Another Weir, or a person, may come first.
      query: isNew ? { create: "true" } : {},
      body: Buffer.from(JSON.stringify(template)),
      headers: { "content-type": "application/json" },
    },
    signal,
  );
  if (!isAcknowledged(put)) throw client.unavailable(`index template ${wanted.name}: answers ${answerText(put)}`);
  log.info({ template: wanted.name }, `index template ${wanted.name} installed for ${wanted.pattern}`);
}

function isAcknowledged({ status, body }: ElasticAnswer): boolean {
  return status === 200 && z.object({ acknowledged: z.literal(true) }).safeParse(body).success;
}

function templateFor({ pattern, priority, settings, isStream, form, fieldsMax }: TemplateWanted) {
  const template = {
    index_patterns: [pattern],
    priority,
    ...(isStream ? { data_stream: {} } : {}),
    template: {
      settings: {
        "index.mapping.total_fields.limit": Math.max(FIELDS_MAX_DEFAULT, fieldsMax + FIXED_FIELDS),
        ...settings,
      },
      mappings: {
        date_detection: false,
        dynamic_templates: [{ texts: { match_mapping_type: "string", mapping: KEYWORD } }],
        properties: { ...COMMON, ...(form === "ecs" ? ECS : {}), ...(isStream ? DATA_STREAM : {}) },
      },
    },
  };
  const digest = createHash("sha256").update(JSON.stringify(template)).digest("hex").slice(0, 16);
  return { ...template, version: VERSION, _meta: { managed_by: OWNER, digest } };
}

const KEYWORD = { type: "keyword", ignore_above: KEYWORD_CHARS_MAX };
const keywords = (...names: readonly string[]) => Object.fromEntries(names.map((name) => [name, KEYWORD]));
const object = (properties: Record<string, unknown>) => ({ properties });

const COMMON = {
  "@timestamp": { type: "date_nanos" },
  message: { type: "text" },
  weir: object({ rest: { type: "text" }, line_base64: { type: "binary" } }),
};

const ECS = {
  log: object(keywords("level")),
  trace: object(keywords("id")),
  span: object(keywords("id")),
  parent: object(keywords("id")),
  http: object({ request: object(keywords("id")) }),
  organization: object(keywords("id")),
  kubernetes: object({
    ...keywords("namespace"),
    pod: object(keywords("name", "uid", "ip")),
    node: object(keywords("name")),
    container: object(keywords("name", "image", "hash", "id")),
  }),
};

const DATA_STREAM = { data_stream: object(keywords("type", "dataset", "namespace")) };
