/** Who claims a key: one, or several. A list only where there are several, for there are as many keys as peers. */
export type Claims<T extends object> = T | T[];

export const claimsOf = <T extends object>(claims: Claims<T> | undefined): readonly T[] =>
  claims === undefined ? [] : Array.isArray(claims) ? claims : [claims];

/** @returns whether nobody held it before */
export function claim<K, T extends object>(map: Map<K, Claims<T>>, key: K, claimant: T): boolean {
  const before = map.get(key);
  if (Array.isArray(before)) before.push(claimant);
  else map.set(key, before === undefined ? claimant : [before, claimant]);
  return before === undefined;
}

/** @returns whether nobody holds it any more */
export function release<K, T extends object>(map: Map<K, Claims<T>>, key: K, gives: (claimant: T) => boolean): boolean {
  const rest = claimsOf(map.get(key)).filter((claimant) => !gives(claimant));
  if (rest.length > 0) map.set(key, rest.length === 1 ? (rest[0] as T) : rest);
  else map.delete(key);
  return rest.length === 0;
}
