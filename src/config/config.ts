import type { z } from "zod";
import type { OptionsSpec, ParserSpec } from "../core/component.ts";
import type { LogLevel } from "../core/log.ts";
import type { Position } from "./problem.ts";

export interface ReceiverSpec<S extends z.ZodType = z.ZodType> extends OptionsSpec<S> {
  /** Whether a file without a receiver of this type has one all the same: its name is the type's, its options the defaults. */
  readonly byDefault?: boolean;
}

/** What may stand in a pipeline file, handed in by whoever knows every room. */
export interface Registries {
  readonly receivers: Readonly<Record<string, ReceiverSpec>>;
  readonly steps: Readonly<Record<string, OptionsSpec>>;
  readonly sinks: Readonly<Record<string, OptionsSpec>>;
  readonly parsers: Readonly<Record<string, ParserSpec>>;
  /**
   * Schemas of the settings that are one block of the document each: `store`, `intake`, `query`, `http`, … Each has to
   * accept `{}`, which is what an absent block means.
   */
  readonly sections: Readonly<Record<string, z.ZodType>>;
}

/** A receiver or a sink. */
export interface ComponentConfig {
  readonly name: string;
  readonly type: string;
  /** What the schema of its type gave: the reader knows its shape by `type`. */
  readonly options: unknown;
}

export interface StepConfig {
  /** The step's name in the registry. */
  readonly name: string;
  /** What the step's schema gave. */
  readonly options: unknown;
  readonly at: Position;
}

export interface PipelineConfig {
  readonly name: string;
  /** Names of receivers. */
  readonly from: readonly string[];
  /** Tag globs, see core/glob.ts; one of them has to fit. */
  readonly match: readonly string[];
  /** Fields that may hold the line, tried in order. */
  readonly line: readonly string[];
  readonly steps: readonly StepConfig[];
  /** Names of sinks. */
  readonly to: readonly string[];
}

/** A checked document. Order of receivers, pipelines and sinks is the order of the file. */
export interface Config<Sections = Readonly<Record<string, unknown>>> {
  readonly fileName: string;
  readonly receivers: readonly ComponentConfig[];
  readonly pipelines: readonly PipelineConfig[];
  readonly sinks: readonly ComponentConfig[];
  readonly sections: Sections;
  /** What each section is when the file says nothing of it. */
  readonly defaults: Readonly<Record<string, unknown>>;
  readonly log_level: LogLevel;
  /** One line each, for the log: nothing that keeps the process from starting. */
  readonly warnings: readonly string[];
}

/** The types that a registry's sections give, so that main gets its sections typed. */
export type SectionsOf<R extends Registries> = { readonly [K in keyof R["sections"]]: z.output<R["sections"][K]> };
