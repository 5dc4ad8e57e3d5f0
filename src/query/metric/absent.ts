import type { Labels } from "../../core/labels.ts";
import type { Slices } from "../../core/slices.ts";
import type { Matcher } from "../syntax/ast.ts";
import type { StepVector, VectorSource } from "./leaf-steps.ts";

const NOTHING: StepVector = { ids: [], values: [] };
const ABSENT: StepVector = { ids: [0], values: [1] };

/** `absent_over_time`: 1 where its operand has nothing. */
export class AbsentSteps implements VectorSource {
  readonly labels: readonly Labels[];
  private readonly inner: VectorSource;

  constructor(inner: VectorSource, labels: Labels) {
    this.inner = inner;
    this.labels = [labels];
  }

  prepare(slices: Slices): Promise<void> {
    return this.inner.prepare(slices);
  }

  step(point: number): StepVector {
    return this.inner.step(point).ids.length > 0 ? NOTHING : ABSENT;
  }
}

/**
 * The labels that what is absent would have had for certain: those that the selector asks for with one `=` and nothing else. A label
 * that it wants to be empty is none.
 */
export function absentLabels(matchers: readonly Matcher[]): Labels {
  const names = new Set(matchers.map(({ name }) => name));
  const found = [...names].flatMap((name) => {
    const own = matchers.filter((matcher) => matcher.name === name);
    return own.length === 1 && own[0].op === "=" && own[0].value !== "" ? [[name, own[0].value]] : [];
  });
  return Object.fromEntries(found);
}
