import { WeirError } from "../core/errors.ts";

/** A place in the pipeline file; line and column count from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** One thing that is wrong, or worth a warning. */
export interface Problem {
  /** `file:line:column`, or the flag or environment variable that the value came from. */
  readonly where: string;
  /** Where it stands in the document: `pipelines.web.steps[0].parse`. "" for the document itself. */
  readonly path: string;
  /** What was found, and what was wanted. */
  readonly message: string;
  /** Order of the problems in the output. */
  readonly position: Position;
}

/** `pipelines/web.yaml:14:7  pipelines.web.steps[0].parse: found …, want …` */
export function formatProblem({ where, path, message }: Problem): string {
  return path === "" ? `${where}  ${message}` : `${where}  ${path}: ${message}`;
}

/** Everything that is wrong with a pipeline file; the message has one line for each problem. */
export class ConfigErrors extends WeirError {
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    const sorted = problems.toSorted(
      (a, b) => a.position.line - b.position.line || a.position.column - b.position.column,
    );
    super("config_invalid", sorted.map(formatProblem).join("\n"), { context: { problems: sorted.length } });
    this.problems = sorted;
  }
}

/** `a.b[0]["odd key"]` */
export function formatPath(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, key) => {
    if (typeof key === "number") return `${text}[${key}]`;
    const name = String(key);
    if (!/^[A-Za-z_@][\w@/-]*$/.test(name)) return `${text}[${JSON.stringify(name)}]`;
    return text === "" ? name : `${text}.${name}`;
  }, "");
}
