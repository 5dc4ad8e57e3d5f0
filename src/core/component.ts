import type { z } from "zod";
import type { LineSink } from "./line.ts";
import type { Metrics } from "./metrics.ts";

/** A value that a parser found: text as it stood in the line, or what JSON has. Numbers keep their text. */
export type FieldValue = string | boolean | null | NumberText | FieldValue[] | Fields;
export interface Fields {
  [name: string]: FieldValue;
}

/** A number as it was written, so that 64-bit ids and `1.50` survive. */
export class NumberText {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
  toString(): string {
    return this.text;
  }
}

/** What is chosen by its name in the pipeline file: a receiver, a step, a sink. Parsers and sinks extend this. */
export interface OptionsSpec<S extends z.ZodType = z.ZodType> {
  readonly name: string;
  /** One sentence for the reference page. */
  readonly summary: string;
  readonly options: S;
  /** Options among them that it shares with others of its kind: the reference page has them once. */
  readonly shared?: z.ZodType;
  /**
   * What it takes for itself alone in the process, in words that stand in a complaint (`metric app_errors_total`): no two
   * components of its kind may take the same.
   */
  claims?(options: z.output<S>): readonly string[];
  /** What works but is hardly meant: the option by its path, and what it leads to. */
  warns?(options: z.output<S>): readonly OptionWarning[];
}

export interface OptionWarning {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

export interface ParserExample {
  readonly title: string;
  readonly line: string;
  /** Options that the example needs beyond the defaults. */
  readonly options?: Record<string, unknown>;
  /** The fields, with numbers as plain text; null when the parser refuses the line. */
  readonly gives: Record<string, unknown> | null;
}

/** Takes one line apart, or gives null when the line has another format, which is nothing unusual. */
export type ParseLine = (line: string) => Fields | null;

export interface ParserSpec<S extends z.ZodType = z.ZodType> extends OptionsSpec<S> {
  readonly examples: readonly ParserExample[];
  /**
   * For an envelope (CRI, Docker): the field that holds the inner line. The inner line then takes the place of the
   * line, for the steps after it and in the store.
   */
  readonly innerLine?: (options: z.output<S>) => string;
  /** Name of the field with the line's own time, where the format has one. */
  readonly timeField?: string;
  /** Compiles the parser. Throws WeirError `bad_parser` with a reason when the options can't work. */
  readonly create: (options: z.output<S>) => ParseLine;
}

export function defineParser<S extends z.ZodType>(spec: ParserSpec<S>): ParserSpec<S> {
  return spec;
}

/** What the process gives to a sink beside its options. */
export interface SinkContext {
  readonly metrics: Metrics;
  /** The store's writing side, for the one sink that fills it. */
  readonly store: LineSink;
}

export interface SinkSpec<S extends z.ZodType = z.ZodType> extends OptionsSpec<S> {
  readonly create: (options: z.output<S>, context: SinkContext) => LineSink;
}

export function defineSink<S extends z.ZodType>(spec: SinkSpec<S>): SinkSpec<S> {
  return spec;
}
