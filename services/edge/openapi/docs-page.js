// The page at /docs: Swagger UI over /openapi.json. Keys that are typed in stay in the page's memory.
/* global SwaggerUIBundle */
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  persistAuthorization: false,
  // The validator's badge would send the document's address to another host.
  validatorUrl: null,
  docExpansion: "none",
  defaultModelsExpandDepth: 0,
  filter: true,
});
