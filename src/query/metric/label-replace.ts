import { compileRegex } from "../../codec/re2.ts";
import type { Labels } from "../../core/labels.ts";
import type { Slices } from "../../core/slices.ts";
import { goExpand } from "../go-expand.ts";
import type { MetricOf } from "../syntax/ast.ts";
import type { StepVector, VectorSource } from "./leaf-steps.ts";
import { dropLabels, PerSeries, SeriesTable } from "./series-table.ts";

/** `label_replace`: the same values under other labels. Two series may become one; whoever shows them says so. */
export class LabelReplaceSteps implements VectorSource {
  private readonly inner: VectorSource;
  private readonly replaced = new SeriesTable();
  private readonly idOf: PerSeries<number>;

  constructor(expr: MetricOf<"label_replace">, inner: VectorSource) {
    this.inner = inner;
    const replace = compileReplace(expr);
    this.idOf = new PerSeries((id) => this.replaced.idOf(replace(inner.labels[id])));
  }

  get labels(): readonly Labels[] {
    return this.replaced.labels;
  }

  async prepare(slices: Slices): Promise<void> {
    await this.inner.prepare(slices);
    await this.idOf.fill(this.inner.labels.length, slices);
  }

  step(point: number): StepVector {
    const { ids, values } = this.inner.step(point);
    return { ids: ids.map((id) => this.idOf.of(id)), values };
  }
}

/** The regex must match the whole value; an absent label counts as empty. */
function compileReplace({ target, replacement, source, regex }: MetricOf<"label_replace">): (labels: Labels) => Labels {
  const compiled = compileRegex(regex, { anchored: true });
  return (labels) => {
    const text = Object.hasOwn(labels, source) ? labels[source] : "";
    const found = compiled.captures(text);
    if (found === null) return labels;
    const value = goExpand(
      replacement,
      // The whole match is the whole text.
      (number) => (number === 0 ? text : found.values[number - 1]),
      (name) => found.values[compiled.groups.indexOf(name)],
    );
    const rest = dropLabels(labels, new Set([target]));
    return value === "" ? rest : { ...rest, [target]: value };
  };
}
