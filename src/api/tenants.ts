import type { IncomingHttpHeaders } from "node:http";
import { DEFAULT_TENANT } from "../core/labels.ts";
import { tenantFault } from "../core/tenant.ts";
import { HttpProblem } from "./errors.ts";

/*
 * Whose request it is. Source: "Loki's HTTP contract", 2.1.
 */

/** Tells tenants apart by X-Scope-OrgID, or knows only one. */
export class Tenants {
  readonly areOn: boolean;

  constructor(areOn: boolean) {
    this.areOn = areOn;
  }

  /** The request's tenant. Throws HttpProblem: 401 without one where one is wanted, 400 for one that can't be. */
  of(headers: IncomingHttpHeaders): string {
    return this.areOn ? namedTenant(headers) : DEFAULT_TENANT;
  }
}

/** The tenant that the header names, whether tenants are told apart or not. Throws as `Tenants.of` does. */
export function namedTenant(headers: IncomingHttpHeaders): string {
  const given = headers["x-scope-orgid"];
  const text = Array.isArray(given) ? given.join(",") : (given ?? "");
  if (text === "") throw new HttpProblem(401, "no org id");
  // Several stand for one query over all of them, which is not offered; the same one several times is one.
  const names = new Set(text.split("|"));
  for (const name of names) checkTenant(name);
  if (names.size > 1) throw new HttpProblem(400, "multiple org IDs present");
  const [name = ""] = names;
  return name;
}

function checkTenant(name: string): void {
  const fault = tenantFault(name);
  if (fault !== null) throw new HttpProblem(name === "" ? 401 : 400, fault);
}
