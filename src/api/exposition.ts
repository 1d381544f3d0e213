/** One number with the labels that tell it from others of its metric. */
export interface Sample {
  /** Behind the metric's name: parts of a histogram are `_bucket`, `_sum` and `_count`. */
  suffix?: string;
  labels?: Readonly<Record<string, string>>;
  value: number;
}

/** A metric with all its samples. */
export interface Metric {
  name: string;
  /** A counter only grows, and its name ends in `_total`. */
  type: 'counter' | 'gauge' | 'histogram';
  help: string;
  samples: readonly Sample[];
}

/**
 * Samples of a histogram.
 * @param counts for each bound how many were not above it and above the one before; one more for the rest
 */
export function histogramSamples(
  labels: Readonly<Record<string, string>>,
  bounds: readonly number[],
  { counts, sum }: { counts: readonly number[]; sum: number },
): Sample[] {
  let below = 0;
  const buckets = counts.map((count, i): Sample => {
    below += count;
    return { suffix: '_bucket', labels: { ...labels, le: String(bounds[i] ?? '+Inf') }, value: below };
  });
  return [...buckets, { suffix: '_sum', labels, value: sum }, { suffix: '_count', labels, value: below }];
}

/** Metrics in Prometheus's text format (version 0.0.4); one without samples is left out. */
export function exposition(metrics: readonly Metric[]): string {
  return metrics
    .filter(({ samples }) => samples.length > 0)
    .map(({ name, type, help, samples }) => {
      const head = `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
      return (
        head +
        samples.map(({ suffix = '', labels, value }) => `${name}${suffix}${labelsText(labels)} ${value}\n`).join('')
      );
    })
    .join('');
}

function labelsText(labels: Readonly<Record<string, string>> = {}): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`);
  return pairs.length > 0 ? `{${pairs.join(',')}}` : '';
}

/** Of label values: backslash, quote and line feed. */
function escaped(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
