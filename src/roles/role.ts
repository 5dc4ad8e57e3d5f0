/** What a process does: all of it, or one part of what several share. */
export const ROLES = ["all", "receiver", "worker", "querier", "compactor"] as const;
export type Role = (typeof ROLES)[number];

export function isRole(text: string): text is Role {
  return ROLES.some((role) => role === text);
}

/** Whether a process with this role does a part of the work. */
export function doesPart(role: Role, part: Exclude<Role, "all">): boolean {
  return role === "all" || role === part;
}
