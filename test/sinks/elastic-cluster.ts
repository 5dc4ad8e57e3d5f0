import { type Answer, type Got, HttpDestination } from "./destinations.ts";

export interface Doc {
  readonly index: string;
  readonly id: string;
  readonly source: Record<string, unknown>;
}

export interface ItemError {
  readonly status: number;
  readonly type: string;
  readonly reason: string;
}

/** What Elasticsearch does, as far as the sink asks for it: the bulk API with `create`, and index templates. */
export class FakeCluster {
  readonly server: HttpDestination;
  /** In the order of their arrival. */
  readonly docs: Doc[] = [];
  readonly templates = new Map<string, Record<string, unknown>>();
  /** Documents of each bulk request. */
  readonly bulks: number[] = [];
  /** What to say of a document in place of storing it, or null. */
  refuse: (doc: Doc) => ItemError | null = () => null;
  /** An answer in place of the cluster's, or undefined; null: none at all. */
  instead: (got: Got) => Answer | null | undefined = () => undefined;
  private readonly ids = new Set<string>();

  private constructor(server: HttpDestination) {
    this.server = server;
    server.answer = (got) => {
      const instead = this.instead(got);
      return instead === undefined ? this.answer(got) : instead;
    };
  }

  static async start(): Promise<FakeCluster> {
    return new FakeCluster(await HttpDestination.start());
  }

  get url(): string {
    return this.server.url;
  }

  answer(got: Got): Answer {
    const path = got.path.replace(/\?.*$/, "");
    if (path === "/_bulk") return this.bulk(got);
    const name = /^\/_index_template\/(.+)$/.exec(path)?.[1];
    if (name !== undefined) return this.template(got, decodeURIComponent(name));
    return json(got.method === "HEAD" ? 200 : 404, {});
  }

  private bulk(got: Got): Answer {
    const lines = got.body.toString().split("\n");
    if (lines.pop() !== "") return json(400, error("illegal_argument_exception", "want a newline at the end"));
    const items: unknown[] = [];
    for (let i = 0; i < lines.length; i += 2) {
      const { create } = JSON.parse(lines[i]) as { create: { _index: string; _id: string } };
      const doc: Doc = { index: create._index, id: create._id, source: JSON.parse(lines[i + 1]) };
      items.push({ create: { _id: doc.id, ...this.create(doc) } });
    }
    this.bulks.push(items.length);
    return json(200, { items });
  }

  private create(doc: Doc): { status: number; error?: object } {
    const refused = this.refuse(doc);
    if (refused !== null) {
      const { status, ...what } = refused;
      return { status, error: what };
    }
    const key = `${doc.index} ${doc.id}`;
    if (this.ids.has(key)) {
      return { status: 409, error: { type: "version_conflict_engine_exception", reason: "document already exists" } };
    }
    this.ids.add(key);
    this.docs.push(doc);
    return { status: 201 };
  }

  private template({ method, path, body }: Got, name: string): Answer {
    const there = this.templates.get(name);
    if (method === "GET") {
      return there === undefined
        ? json(404, error("resource_not_found_exception", `index template matching [${name}] not found`))
        : json(200, { index_templates: [{ name, index_template: there }] });
    }
    if (there !== undefined && path.includes("create=true")) {
      return json(400, error("illegal_argument_exception", `index template [${name}] already exists`));
    }
    this.templates.set(name, JSON.parse(body.toString()) as Record<string, unknown>);
    return json(200, { acknowledged: true });
  }
}

export const json = (status: number, body: unknown): Answer => ({
  status,
  text: JSON.stringify(body),
  headers: { "content-type": "application/json; charset=UTF-8" },
});

export const error = (type: string, reason: string) => ({ error: { type, reason }, status: 400 });

/** The line's bytes, from the document that has them. */
export function lineOf({ source }: Doc): Buffer {
  const { message, weir } = source as { message: string; weir?: { line_base64?: string } };
  const exact = weir?.line_base64;
  return exact === undefined ? Buffer.from(message) : Buffer.from(exact, "base64");
}
