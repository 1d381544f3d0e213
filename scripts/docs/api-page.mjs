// docs/api.md, from the OpenAPI document that the agent itself serves.

const HEAD = `# Socket API

<!-- Written by scripts/docs.mjs from src/api/routes.ts and the schemas in src/model: change it there. -->

HTTP/1.1 over the agent's unix socket, JSON in and out. \`GET /v1/openapi.json\` has the same for programs.

- The API is declarative: a PUT states what shall be, and stating it again changes nothing, not even the revision. It
  answers as soon as the change is on disk, 201 for a new object and 200 for one that was there; with \`?wait=applied\`
  it answers when the kernel shows it and names are answered accordingly. What fails is tried again meanwhile; when the
  time is up the answer is 504 with what stands in the way, and the change stays and is tried on.
- Every object comes with its \`origin\`, its \`revision\` and a \`status\` of \`phase\`, \`revision\`, \`since\`, and
  \`reason\` and \`hint\` where something is wrong. A PUT or DELETE with \`If-Match: REVISION\` is refused (412) when the
  object has changed since.
- Unknown fields are refused. So are bodies over 32 MiB; NDJSON streams have no limit.
- Errors have one shape and are listed in [errors.md](errors.md).
`;

/** @param {any} document OpenAPI, as src/api/openapi.ts makes it */
export function apiPage(document) {
  const bodies = bodySections(document.components.schemas);
  return [HEAD, ...routeSections(document.paths), '## Bodies\n', ...bodies].join('\n');
}

function routeSections(paths) {
  const groups = new Map();
  for (const [path, methods] of Object.entries(paths)) {
    const group = path.split('/')[2] ?? path.slice(1);
    groups.set(group, [...(groups.get(group) ?? []), ...Object.entries(methods).map((entry) => [path, ...entry])]);
  }
  const single = [...groups.values()].filter((routes) => routes.length === 1).flat();
  const sections = [['agent', single], ...[...groups].filter(([, routes]) => routes.length > 1)];
  return sections.map(([title, routes]) => {
    const rows = routes.map(([path, method, route]) => routeRow(path, method, route));
    return `## ${title}\n\n| Request | What it does | Query | Body |\n|---|---|---|---|\n${rows.join('\n')}\n`;
  });
}

function routeRow(path, method, { summary, parameters, requestBody }) {
  const query = parameters.filter((parameter) => parameter.in === 'query');
  const queryText = query.map(({ name, description }) => `\`${name}\`: ${cell(description)}`).join('<br>');
  const body = requestBody?.content['application/json'].schema.$ref;
  return `| \`${method.toUpperCase()} ${path}\` | ${cell(summary)} | ${queryText} | ${body ? link(body) : ''} |`;
}

function bodySections(bodies) {
  return Object.entries(bodies).map(([name, { properties, required = [], description }]) => {
    const rows = Object.entries(properties).map(([field, schema]) => {
      const fallback = required.includes(field)
        ? 'required'
        : 'default' in schema
          ? `\`${JSON.stringify(schema.default)}\``
          : '';
      return `| \`${field}\` | ${typeText(schema)} | ${fallback} | ${cell(schema.description ?? '')} |`;
    });
    const text = description ? `${description}\n\n` : '';
    return `### ${name}\n\n${text}| Field | Type | When left out | Meaning |\n|---|---|---|---|\n${rows.join('\n')}\n`;
  });
}

/** A JSON schema in a few words. Throws on what it does not know: a page with holes would pass for a whole one. */
function typeText(schema) {
  if (schema.$ref) return link(schema.$ref);
  if (schema.enum) return schema.enum.map((value) => `\`${value}\``).join(', ');
  if ('const' in schema) return `\`${schema.const}\``;
  if (schema.anyOf) return schema.anyOf.map(typeText).join(' or ');
  switch (schema.type) {
    case 'array':
      return `list of ${typeText(schema.items)}${countText(schema)}`;
    case 'object':
      if (schema.properties) return fieldsText(schema.properties);
      return `map of name to ${typeText(schema.additionalProperties)}`;
    case 'integer':
    case 'number':
      return numberText(schema);
    case 'string':
      return (
        { ip: 'IP address', cidr: 'CIDR', 'ip-or-cidr': 'IP address or CIDR', mac: 'MAC address' }[schema.format] ??
        'text'
      );
    case 'boolean':
      return 'true or false';
    default:
      throw new Error(`no words for the schema ${JSON.stringify(schema)}`);
  }
}

/** An object inside a field: `{ toSandbox, fromSandbox }`. */
function fieldsText(properties) {
  return `{ ${Object.entries(properties)
    .map(([field, schema]) => `\`${field}\`: ${typeText(schema)}`)
    .join('; ')} }`;
}

function countText({ minItems, maxItems }) {
  if (minItems !== undefined && maxItems !== undefined) return ` (${minItems} to ${maxItems})`;
  if (minItems !== undefined) return ` (at least ${minItems})`;
  return maxItems === undefined ? '' : ` (at most ${maxItems})`;
}

function numberText({ minimum, exclusiveMinimum, maximum }) {
  const from = minimum ?? (exclusiveMinimum === undefined ? undefined : exclusiveMinimum + 1);
  // zod bounds every integer by what a double holds exactly; that says nothing.
  const to = maximum === Number.MAX_SAFE_INTEGER ? undefined : maximum;
  if (from !== undefined && to !== undefined) return `number, ${from} to ${to}`;
  if (from !== undefined) return `number from ${from}`;
  return to === undefined ? 'number' : `number up to ${to}`;
}

function link(ref) {
  const name = ref.split('/').at(-1);
  return `[${name}](#${name.toLowerCase()})`;
}

const cell = (text) => text.replaceAll('|', '\\|').replaceAll('\n', ' ');
