package egisso

import (
	"embed"
	"encoding/json"
	"fmt"
	"strings"
)

// The contract as machines read it. A test holds it against the types here, both ways.
//
//go:embed schema/*.json
var schemas embed.FS

// Schema is the JSON Schema (2020-12) of the data of a type of message, or of "cloudevent": a message that comes in structured mode.
func Schema(name string) ([]byte, bool) {
	b, err := schemas.ReadFile("schema/" + name + ".json")
	return b, err == nil && name != "asyncapi"
}

// SchemaNames lists the names of all schemas.
func SchemaNames() (names []string) {
	entries, _ := schemas.ReadDir("schema")
	for _, e := range entries {
		if name := strings.TrimSuffix(e.Name(), ".json"); name != "asyncapi" {
			names = append(names, name)
		}
	}
	return names
}

// AsyncAPI is the document (3.0) of the topics, with all schemas in it.
func AsyncAPI() ([]byte, error) {
	b, err := schemas.ReadFile("schema/asyncapi.json")
	if err != nil {
		return nil, fmt.Errorf("read AsyncAPI document: %w", err)
	}
	var doc struct {
		AsyncAPI           string          `json:"asyncapi"`
		Info               json.RawMessage `json:"info"`
		DefaultContentType string          `json:"defaultContentType"`
		Channels           json.RawMessage `json:"channels"`
		Operations         json.RawMessage `json:"operations"`
		Components         struct {
			Messages json.RawMessage            `json:"messages"`
			Schemas  map[string]json.RawMessage `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("read AsyncAPI document: %w", err)
	}
	for _, name := range SchemaNames() {
		doc.Components.Schemas[name], _ = Schema(name)
	}
	return json.MarshalIndent(doc, "", "  ")
}
