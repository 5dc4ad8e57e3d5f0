import { WeirError } from "../../core/errors.ts";
import type { Labels } from "../../core/labels.ts";
import type { Slices } from "../../core/slices.ts";
import { sortedJson } from "../stages/label-text.ts";
import type { BinaryOp, VectorMatching } from "../syntax/ast.ts";
import { applyOperator, isSetOperator } from "../syntax/fold.ts";
import type { StepVector, VectorSource } from "./leaf-steps.ts";
import { dropLabels, keepLabels, PerSeries, SeriesTable } from "./series-table.ts";

export interface Operator {
  readonly op: BinaryOp;
  readonly returnBool: boolean;
  readonly matching: VectorMatching | null;
}

const COMPARISONS: ReadonlySet<BinaryOp> = new Set<BinaryOp>(["==", "!=", ">", ">=", "<", "<="]);

/** An operator that filters rather than computes. */
function isFilter({ op, returnBool }: Operator): boolean {
  return COMPARISONS.has(op) && !returnBool;
}

/** Vectors that do not fit together. Loki answers 500. */
function mismatch(message: string): WeirError {
  return new WeirError("query_vector_matching", message);
}

/** A vector and a number. A comparison keeps the vector's value, whichever side it is on. */
export class LiteralSteps implements VectorSource {
  private readonly operator: Operator;
  private readonly vector: VectorSource;
  private readonly number: number;
  private readonly numberIsLeft: boolean;

  constructor(operator: Operator, vector: VectorSource, number: number, numberIsLeft: boolean) {
    this.operator = operator;
    this.vector = vector;
    this.number = number;
    this.numberIsLeft = numberIsLeft;
  }

  get labels(): readonly Labels[] {
    return this.vector.labels;
  }

  prepare(slices: Slices): Promise<void> {
    return this.vector.prepare(slices);
  }

  step(point: number): StepVector {
    const { ids, values } = this.vector.step(point);
    const { operator, number, numberIsLeft } = this;
    const results = values.map((value) =>
      numberIsLeft ? applyOperator(operator.op, number, value) : applyOperator(operator.op, value, number),
    );
    if (!isFilter(operator)) return { ids, values: results };
    return { ids: ids.filter((_, i) => results[i] !== 0), values: values.filter((_, i) => results[i] !== 0) };
  }
}

/** `and`, `or`, `unless`: some of the series of either side, as they are. */
class SetSteps implements VectorSource {
  private readonly op: BinaryOp;
  private readonly left: VectorSource;
  private readonly right: VectorSource;
  private readonly result = new SeriesTable();
  private readonly leftKey: PerSeries<string>;
  private readonly rightKey: PerSeries<string>;
  private readonly leftId: PerSeries<number>;
  private readonly rightId: PerSeries<number>;

  constructor({ op, matching }: Operator, left: VectorSource, right: VectorSource) {
    this.op = op;
    this.left = left;
    this.right = right;
    const keyOf = signatureOf(matching);
    this.leftKey = new PerSeries((id) => keyOf(left.labels[id]));
    this.rightKey = new PerSeries((id) => keyOf(right.labels[id]));
    this.leftId = new PerSeries((id) => this.result.idOf(left.labels[id]));
    this.rightId = new PerSeries((id) => this.result.idOf(right.labels[id]));
  }

  get labels(): readonly Labels[] {
    return this.result.labels;
  }

  async prepare(slices: Slices): Promise<void> {
    await this.left.prepare(slices);
    await this.right.prepare(slices);
    await this.leftKey.fill(this.left.labels.length, slices);
    await this.rightKey.fill(this.right.labels.length, slices);
  }

  step(point: number): StepVector {
    const left = this.left.step(point);
    const right = this.right.step(point);
    const ids: number[] = [];
    const values: number[] = [];
    const isOr = this.op === "or";
    const rightKeys = new Set(isOr ? [] : right.ids.map((id) => this.rightKey.of(id)));
    const leftKeys = new Set<string>();
    left.ids.forEach((id, i) => {
      const key = this.leftKey.of(id);
      leftKeys.add(key);
      if (!isOr && rightKeys.has(key) !== (this.op === "and")) return;
      ids.push(this.leftId.of(id));
      values.push(left.values[i]);
    });
    right.ids.forEach((id, i) => {
      if (!isOr || leftKeys.has(this.rightKey.of(id))) return;
      ids.push(this.rightId.of(id));
      values.push(right.values[i]);
    });
    return { ids, values };
  }
}

/** Arithmetic and comparisons of two vectors, one to one or with many on one side. */
class MatchSteps implements VectorSource {
  private readonly operator: Operator;
  private readonly group: VectorMatching["group"];
  /** The side that may have several series for each of the other, and the other; left and right unless `group_right`. */
  private readonly many: VectorSource;
  private readonly one: VectorSource;
  private readonly result = new SeriesTable();
  private readonly manyKey: PerSeries<string>;
  private readonly oneKey: PerSeries<string>;
  /** Result series by the two that it is made of. */
  private readonly made = new Map<number, PerSeries<number>>();

  constructor(operator: Operator, left: VectorSource, right: VectorSource) {
    const { matching } = operator;
    this.operator = operator;
    this.group = matching?.group ?? "";
    [this.many, this.one] = this.group === "right" ? [right, left] : [left, right];
    const keyOf = signatureOf(matching);
    this.manyKey = new PerSeries((id) => keyOf(this.many.labels[id]));
    this.oneKey = new PerSeries((id) => keyOf(this.one.labels[id]));
  }

  get labels(): readonly Labels[] {
    return this.result.labels;
  }

  async prepare(slices: Slices): Promise<void> {
    await this.many.prepare(slices);
    await this.one.prepare(slices);
    await this.manyKey.fill(this.many.labels.length, slices);
    await this.oneKey.fill(this.one.labels.length, slices);
  }

  step(point: number): StepVector {
    // Both sides take the step, whatever the other one has.
    const many = this.many.step(point);
    const one = this.one.step(point);
    const partners = this.partners(one);
    const ids: number[] = [];
    const values: number[] = [];
    const matched = new Set<string>();
    const used = new Set<number>();
    for (let i = 0; i < many.ids.length; i++) {
      const key = this.manyKey.of(many.ids[i]);
      const partner = partners.get(key);
      if (partner === undefined) continue;
      const id = this.resultOf(many.ids[i], one.ids[partner]);
      if (this.group !== "" ? used.has(id) : this.operator.matching !== null && matched.has(key)) {
        throw mismatch(
          this.group === ""
            ? "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
            : "multiple matches for labels: grouping labels must ensure unique matches",
        );
      }
      matched.add(key);
      used.add(id);
      const value = this.computed(many.values[i], one.values[partner]);
      if (value === null) continue;
      ids.push(id);
      values.push(value);
    }
    return { ids, values };
  }

  /** The places of the one side's series by what they match by. */
  private partners({ ids }: StepVector): Map<string, number> {
    const places = new Map<string, number>();
    for (let i = 0; i < ids.length; i++) {
      const key = this.oneKey.of(ids[i]);
      if (places.has(key)) {
        const side = this.group === "right" ? "left" : "right";
        throw mismatch(
          `found duplicate series on the ${side} hand-side;many-to-many matching not allowed: matching labels must be unique on one side`,
        );
      }
      places.set(key, i);
    }
    return places;
  }

  private computed(many: number, one: number): number | null {
    const [left, right] = this.group === "right" ? [one, many] : [many, one];
    const value = applyOperator(this.operator.op, left, right);
    if (!isFilter(this.operator)) return value;
    return value === 0 ? null : left;
  }

  private resultOf(many: number, one: number): number {
    let of = this.made.get(one);
    if (of === undefined) {
      of = new PerSeries((id) =>
        this.result.idOf(resultLabels(this.many.labels[id], this.one.labels[one], this.operator.matching)),
      );
      this.made.set(one, of);
    }
    return of.of(many);
  }
}

/** What two series match by. An empty label is the same as none. */
function signatureOf(matching: VectorMatching | null): (labels: Labels) => string {
  if (matching === null) return (labels) => sortedJson(present(labels));
  const names = new Set(matching.labels);
  const part = matching.on ? keepLabels : dropLabels;
  return (labels) => sortedJson(present(part(labels, names)));
}

function present(labels: Labels): Labels {
  return Object.fromEntries(Object.entries(labels).filter(([, value]) => value !== ""));
}

/** One to one, `on` leaves its labels and `ignoring` takes its own away; with a group the many side's stay, and some of the other come in. */
function resultLabels(many: Labels, one: Labels, matching: VectorMatching | null): Labels {
  if (matching === null) return many;
  const { on, labels, group, include } = matching;
  const names = new Set(labels);
  if (group === "") return on ? keepLabels(many, names) : dropLabels(many, names);
  const rest = dropLabels(many, new Set(include));
  const taken = include.filter((name) => Object.hasOwn(one, name) && one[name] !== "");
  return { ...rest, ...Object.fromEntries(taken.map((name) => [name, one[name]])) };
}

export function combine(operator: Operator, left: VectorSource, right: VectorSource): VectorSource {
  return isSetOperator(operator.op) ? new SetSteps(operator, left, right) : new MatchSteps(operator, left, right);
}
