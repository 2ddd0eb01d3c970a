/**
 * A path that a template stands for (https://github.com/googleapis/googleapis/blob/master/google/api/http.proto).
 * @param value what stands for each `*` and `**`
 */
export function examplePath(template: string, value: string): string {
  return template
    .replaceAll(/\{[a-z_.]+=([^}]+)\}/g, "$1")
    .replaceAll(/\{[a-z_.]+\}/g, value)
    .replaceAll(/\*\*?/g, value);
}
