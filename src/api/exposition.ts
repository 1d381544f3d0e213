/** One number with the labels that tell it from others of its metric. */
export interface Sample {
  labels?: Readonly<Record<string, string>>;
  value: number;
}

/** A metric with all its samples. */
export interface Metric {
  name: string;
  /** A counter only grows, and its name ends in `_total`. */
  type: 'counter' | 'gauge';
  help: string;
  samples: readonly Sample[];
}

/** Metrics in Prometheus's text format (version 0.0.4); one without samples is left out. */
export function exposition(metrics: readonly Metric[]): string {
  return metrics
    .filter(({ samples }) => samples.length > 0)
    .map(({ name, type, help, samples }) => {
      const head = `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
      return head + samples.map(({ labels, value }) => `${name}${labelsText(labels)} ${value}\n`).join('');
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
