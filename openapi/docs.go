package openapi

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/swaggest/swgui/v5/static"
)

// docsPage shows the document with the embedded Swagger UI. It asks nobody outside: no CDN, no validator, no inline script.
const docsPage = `<!DOCTYPE html>
<html lang="ru">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>ИС ЕКЦ: API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" type="image/png" sizes="32x32" href="/docs/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
`

const docsStart = `window.ui = SwaggerUIBundle({
  url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null, persistAuthorization: false,
  defaultModelsExpandDepth: 0, presets: [SwaggerUIBundle.presets.apis]
});
`

const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// registerDocs serves the document at /openapi.json and the page that shows it at /docs.
func (s *Server) registerDocs() {
	s.plain("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(s.document)
	})
	page := func(w http.ResponseWriter, contentType, text string) {
		w.Header().Set("Content-Security-Policy", docsPolicy)
		w.Header().Set("Content-Type", contentType)
		_, _ = io.WriteString(w, text)
	}
	s.plain("GET /docs", func(w http.ResponseWriter, _ *http.Request) { page(w, "text/html; charset=utf-8", docsPage) })
	s.plain("GET /docs/start.js", func(w http.ResponseWriter, _ *http.Request) { page(w, "text/javascript; charset=utf-8", docsStart) })
	for name, contentType := range map[string]string{
		"swagger-ui.css": "text/css; charset=utf-8", "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
	} {
		s.plain("GET /docs/"+name, func(w http.ResponseWriter, r *http.Request) { s.serveGzipped(w, r, name, contentType) })
	}
	s.plain("GET /docs/favicon-32x32.png", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=3600")
		http.ServeFileFS(w, r, static.FS, "favicon-32x32.png")
	})
}

// serveGzipped serves an embedded file that is kept compressed.
func (s *Server) serveGzipped(w http.ResponseWriter, r *http.Request, name, contentType string) {
	file, err := static.FS.Open(name + ".gz")
	if err != nil {
		s.writeProblem(w, r, problem(CodeNotFound))
		return
	}
	defer func() { _ = file.Close() }()
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "max-age=3600")
	w.Header().Set("Vary", "Accept-Encoding")
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = io.Copy(w, file)
		return
	}
	plain, err := gzip.NewReader(file)
	if err != nil {
		s.writeProblem(w, r, s.problem(r.Context(), fmt.Errorf("read embedded %s: %w", name, err)).(*Problem))
		return
	}
	_, _ = io.Copy(w, plain)
}

// plain adds a route outside the API: no key is asked for.
func (s *Server) plain(pattern string, handle http.HandlerFunc) {
	s.mux.HandleFunc(pattern, handle)
	s.metrics.add(pattern)
}
