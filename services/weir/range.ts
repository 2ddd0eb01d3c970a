const unitsMs: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/**
 * A moment as people write it: a day (`2026-11-21`, midnight UTC), a time (RFC 3339), or how long ago (`24h`, `7d`).
 * @param nowMs milliseconds since 1970
 * @returns milliseconds since 1970; undefined when it is none of these
 */
export function parseMoment(text: string, nowMs: number): number | undefined {
  const [, count, unit] = /^(\d{1,5})([mhdw])$/.exec(text) ?? [];
  if (count !== undefined && unit !== undefined) return nowMs - Number(count) * (unitsMs[unit] ?? Number.NaN);
  if (!/^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2}))?$/.test(text)) return undefined;
  const parsed = Date.parse(text);
  // Date.parse takes 31 February for 3 March.
  const day = text.slice(0, 10);
  const isDay = new Date(Date.parse(day) || 0).toISOString().slice(0, 10) === day;
  return Number.isNaN(parsed) || !isDay ? undefined : parsed;
}
