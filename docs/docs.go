// Package docs holds the description of the operator API, for the program to
// serve; the rest of the folder is for people.
package docs

import _ "embed"

//go:embed openapi.yaml
var openAPI []byte

// OpenAPI is openapi.yaml.
func OpenAPI() []byte { return openAPI }
