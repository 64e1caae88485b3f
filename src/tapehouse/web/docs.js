// The documentation, drawn from openapi.json: every route with its parameters and fields, and a form to try it.

const LONGEST_SHOWN = 40_000;

function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function resolve(api, schema) {
  return schema?.$ref ? schema.$ref.split("/").slice(1).reduce((at, key) => at[key], api) : (schema ?? {});
}

function typeOf(api, schema) {
  const found = resolve(api, schema);
  if (found.anyOf) return found.anyOf.map((one) => typeOf(api, one)).join(" or ");
  if (found.enum) return found.enum.join(" | ");
  if (found.type === "array") return `list of ${found.items?.$ref ? found.items.$ref.split("/").at(-1) : typeOf(api, found.items)}`;
  return schema?.$ref ? schema.$ref.split("/").at(-1) : (found.format ?? found.type ?? "any");
}

function limits(schema) {
  const of = schema.anyOf?.[0] ?? schema;
  const parts = [];
  if (schema.default !== undefined && schema.default !== null) parts.push(`default ${schema.default}`);
  if (of.minimum !== undefined) parts.push(`from ${of.minimum}`);
  if (of.exclusiveMinimum !== undefined) parts.push(`above ${of.exclusiveMinimum}`);
  if (of.maximum !== undefined) parts.push(`to ${of.maximum}`);
  return parts.join(", ");
}

function table(heads, rows) {
  const cells = (tag, texts) => make("tr", {}, ...texts.map((text) => make(tag, {}, text)));
  return make("table", {}, make("thead", {}, cells("th", heads)), make("tbody", {}, ...rows.map((row) => cells("td", row))));
}

function code(text) {
  return make("code", { textContent: text });
}

/** Paragraphs, with `code` set as code. */
function prose(text) {
  return text.split(/\n\s*\n/).map((paragraph) => {
    const parts = paragraph.split("`").map((part, place) => (place % 2 ? code(part) : part));
    return make("p", {}, ...parts);
  });
}

function fieldsOf(api, schema, seen = new Set()) {
  const found = resolve(api, schema?.type === "array" ? schema.items : schema);
  if (!found.properties || seen.has(found)) return [];
  seen.add(found);
  const rows = Object.entries(found.properties).map(([name, field]) => [code(name), typeOf(api, field), resolve(api, field).description ?? field.description ?? ""]);
  const deeper = Object.values(found.properties).flatMap((field) => [field, field.items, field.additionalProperties, ...(field.anyOf ?? [])]);
  const inner = deeper.filter((field) => field?.$ref).flatMap((field) => fieldsOf(api, field, seen));
  return [make("h3", { textContent: found.title ?? "Fields" }), table(["Field", "Type", "Meaning"], rows), ...inner];
}

function input(parameter, api) {
  const schema = resolve(api, parameter.schema);
  const common = { name: parameter.name, required: parameter.required };
  if (schema.enum) {
    return make("select", common, ...schema.enum.map((value) => make("option", { textContent: value, selected: value === schema.default })));
  }
  const example = parameter.name === "symbol" ? localStorage.getItem("symbol") : null;
  return make("input", { ...common, value: example ?? "", placeholder: schema.default ?? "" });
}

function form(path, parameters, api) {
  const answer = make("pre", { hidden: true, tabIndex: 0 });
  const fields = parameters.map((parameter) => make("label", {}, parameter.name, input(parameter, api)));
  const asking = make("form", {}, ...fields, make("button", { textContent: "Try it" }));
  asking.addEventListener("submit", (event) => {
    event.preventDefault();
    show(answer, address(path, parameters, new FormData(asking)));
  });
  return [asking, answer];
}

function address(path, parameters, values) {
  const query = new URLSearchParams();
  for (const { name, in: place } of parameters) {
    const value = String(values.get(name) ?? "").trim();
    if (place === "path") path = path.replace(`{${name}}`, encodeURIComponent(value));
    else if (value) query.set(name, value);
  }
  return query.size ? `${path}?${query}` : path;
}

async function show(answer, url) {
  const response = await fetch(url);
  const text = await response.text();
  const shown = text.length > LONGEST_SHOWN ? `${text.slice(0, LONGEST_SHOWN)}\n… ${text.length} characters in all` : text;
  answer.hidden = false;
  answer.textContent = `GET ${url}\n${response.status} ${response.headers.get("content-type")}\n\n${spread(shown)}`;
}

/** Indent JSON as text: parsing it would round its decimals. */
function spread(text) {
  return text.replace(/(\[|,)(?=\{)|,(?=")/g, "$&\n  ");
}

function route(api, path, operation) {
  const parameters = operation.parameters ?? [];
  const body = operation.responses?.["200"]?.content?.["application/json"]?.schema;
  const section = make("section", { id: operation.operationId });
  section.append(make("h2", { className: "route" }, make("span", { className: "method", textContent: "GET" }), path));
  section.append(...prose(operation.description ?? operation.summary ?? ""));
  if (parameters.length) {
    const rows = parameters.map((one) => [code(one.name), typeOf(api, one.schema), limits(resolve(api, one.schema)), one.description ?? ""]);
    section.append(make("h3", { textContent: "Parameters" }), table(["Name", "Type", "Limits", "Meaning"], rows));
  }
  section.append(make("h3", { textContent: "Try" }), ...form(path, parameters, api));
  if (body) section.append(...fieldsOf(api, body));
  return section;
}

function draw(api) {
  const routes = Object.entries(api.paths).filter(([, methods]) => methods.get);
  const links = routes.map(([path, { get }]) => make("a", { href: `#${get.operationId}`, textContent: path }));
  document.getElementById("contents").replaceChildren(...links);
  const intro = [make("h1", { textContent: api.info.title }), ...prose(api.info.description)];
  document.getElementById("reference").replaceChildren(...intro, ...routes.map(([path, { get }]) => route(api, path, get)));
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

draw(await (await fetch("/openapi.json")).json());
