import { z } from "zod";
import { defineRecordSink } from "../src/core/sink.ts";
import { DOCUMENT_FORMS } from "./shared/elastic-document.ts";
import { indexPattern, indexTemplate } from "./shared/elastic-index.ts";
import { ElasticSink } from "./shared/elastic-sink.ts";
import { tlsOptions } from "./shared/http-client.ts";
import { headerText, httpTarget, httpUrl } from "./shared/http-options.ts";

const NODES_MAX = 32;
const DAY_MS = 86_400_000;

const options = z
  .strictObject({
    nodes: z
      .array(httpUrl)
      .min(1)
      .max(NODES_MAX)
      .describe(
        "Addresses of the cluster's nodes, as `https://es-1:9200`. They are used in turn; one that does not answer is left out for a while.",
      ),
    index: indexTemplate
      .default("weir-{+yyyy.MM.dd}")
      .describe(
        "Index or data stream of a record, as `logs-{namespace}-{+yyyy.MM.dd}`: `{name}` is the label of that name, `{tenant}` the tenant, `{+…}` the record's time in UTC (yyyy, MM, dd, HH, mm). Labels are put in lower case, and everything but letters, digits, `.`, `_` and `-` becomes `_`. Each name costs the cluster shards, so take labels with few values.",
      ),
    data_stream: z
      .boolean()
      .default(false)
      .describe(
        "Whether `index` names data streams. Documents then have `data_stream.*` where the name is `type-dataset-namespace`, and the template makes data streams.",
      ),
    form: z
      .enum(DOCUMENT_FORMS)
      .default("ecs")
      .describe(
        "What a document looks like. `ecs`: names of the Elastic Common Schema, with the record's own fields below `fields`; `record`: the record's own fields as they are, and `@timestamp`.",
      ),
    id_prefix: z
      .string()
      .regex(/^[A-Za-z0-9._-]{0,64}$/, "want at most 64 of A-Z a-z 0-9 . _ -")
      .default("")
      .describe(
        "What document ids begin with. Ids are made of the place in the intake log, the time, and a checksum of tenant and line. Several Weirs that may receive the same lines, and are all to store them, need one each.",
      ),
    gzip: z.boolean().default(true).describe("Whether requests are compressed."),
    api_key: headerText
      .min(1)
      .optional()
      .describe(
        "API key, as Elasticsearch shows it encoded: sent as `Authorization: ApiKey …`; better as a reference to the environment.",
      ),
    node_pause_ms: z
      .int()
      .min(1)
      .default(10_000)
      .describe("How long a node that does not answer is left out; doubled each time, up to 16 times as long."),
    fields_max: z
      .int()
      .min(0)
      .max(100_000)
      .default(400)
      .describe(
        "Names of fields beyond those that each document has, objects included. Further ones go into `weir.rest` as text. Without a template a text counts twice for Elasticsearch, which allows 1000 in an index.",
      ),
    fields_forget_ms: z
      .int()
      .min(0)
      .default(30 * DAY_MS)
      .describe(
        "A name that no record has had for this long makes room for another when there is none. 0: never, for an index that is kept for ever.",
      ),
    template: z
      .strictObject({
        install: z
          .boolean()
          .default(false)
          .describe(
            "Whether an index template is put into the cluster before the first record: times with nanoseconds, `message` as text, other texts as keywords. One that is not Weir's is never touched.",
          ),
        name: z
          .string()
          .regex(/^[a-z0-9][a-z0-9._-]{0,99}$/, "want lower-case letters, digits, ., _ and -")
          .optional()
          .describe("Its name; `weir-` and the sink's name by default."),
        priority: z
          .int()
          .min(0)
          .default(200)
          .describe("Its priority. Those that Elasticsearch brings for `logs-*-*` have 100."),
        settings: z
          .record(z.string().min(1), z.union([z.string(), z.number(), z.boolean()]))
          .default({})
          .describe("Further index settings, as `index.number_of_shards: 3` or `index.lifecycle.name: logs`."),
      })
      .prefault({})
      .describe("Index template."),
    ...httpTarget,
  })
  .superRefine(({ nodes, index, template, basic, bearer_token, api_key }, context) => {
    const issue = (path: string[], message: string) => context.addIssue({ code: "custom", path, message });
    if (new Set(nodes.map((url) => (URL.canParse(url) ? new URL(url).href : url))).size < nodes.length) {
      issue(["nodes"], "a node stands there twice");
    }
    if ([basic, bearer_token, api_key].filter((way) => way !== undefined).length > 1) {
      issue([], "found several of basic, bearer_token and api_key, want one");
    }
    if (template.install && indexPattern(index) === "*") {
      issue(
        ["template"],
        "the template would be for all indices of the cluster; begin `index` with a word, as `logs-`",
      );
    }
  });

export default defineRecordSink({
  name: "elasticsearch",
  summary:
    "Indexes records in Elasticsearch (8 and 9) or OpenSearch (2 and 3) with the bulk API. A document's id is made from the record's place in the intake log, so a repeat stores nothing twice. Of each request's records those that the cluster can't take now (429, 503, a blocked index) are tried again, those that it refuses (a mapping conflict) go to the dead letters with its words, and the others are taken. 401, 403, 404 and redirects are tried again, because they speak of the setup.",
  options,
  wantsJson: () => true,
  open: (own, deps) => {
    // A file with certificates that can't be read is better found now than with the first record.
    tlsOptions(own);
    return new ElasticSink(own, deps);
  },
});
