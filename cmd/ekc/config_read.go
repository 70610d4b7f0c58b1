package main

import (
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Faults are all that is wrong with a configuration, each a sentence led by its place. No value that was read is repeated: it could
// be a secret.
type Faults []string

func (f Faults) Error() string {
	if len(f) == 1 {
		return "configuration: " + f[0]
	}
	return fmt.Sprintf("configuration: %d faults\n  %s", len(f), strings.Join(f, "\n  "))
}

// notSettings are the variables beginning with EKC_ that are not keys of the configuration.
var notSettings = []string{"EKC_CONFIG", "EKC_URL", "EKC_KEY", "EKC_NO_SYSTEM_POSTGRES", "EKC_TEST_DATABASE_URL"}

// readConfig reads the file, lays the environment over it, and checks the whole. path "" is no file: everything comes from the
// environment. The error is Faults, or says that the file cannot be read. What could be understood is returned in any case.
func readConfig(path string, environ []string) (*Config, error) {
	c := new(Config)
	r := &configReader{}
	r.defaults(reflect.ValueOf(c).Elem())
	if path != "" {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, &exitError{exitFailed, fmt.Errorf("read configuration: %w", err)}
		}
		r.file(data, reflect.ValueOf(c).Elem())
	}
	r.environment(environ, reflect.ValueOf(c).Elem())
	r.check(c)
	if len(r.faults) > 0 {
		return c, r.faults
	}
	return c, nil
}

// configReader fills a Config and gathers faults.
type configReader struct{ faults Faults }

func (r *configReader) fault(place, format string, args ...any) {
	sentence := fmt.Sprintf(format, args...)
	if place != "" {
		sentence = place + ": " + sentence
	}
	r.faults = append(r.faults, sentence)
}

func (r *configReader) file(data []byte, root reflect.Value) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		r.fault("", "the file is not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
		return
	}
	if len(doc.Content) == 0 {
		return
	}
	r.decode(doc.Content[0], root, "")
}

// defaults sets what the default tags say, in everything that is there already.
func (r *configReader) defaults(v reflect.Value) {
	for i := range v.NumField() {
		field, tag := v.Field(i), v.Type().Field(i).Tag.Get("default")
		switch {
		case tag != "":
			if err := setScalar(field, tag); err != nil {
				panic(fmt.Sprintf("default of %s.%s: %v", v.Type(), v.Type().Field(i).Name, err))
			}
		case isGroup(field.Type()):
			r.defaults(field)
		}
	}
}

func isText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

func isGroup(t reflect.Type) bool { return t.Kind() == reflect.Struct && !isText(t) }

// decode puts a node into v. Keys that v has no field for are faults, and so is a key that comes twice.
func (r *configReader) decode(node *yaml.Node, v reflect.Value, path string) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	wrong := func(expected string) { r.fault(at(path, node), "expected %s", expected) }
	switch {
	case node.Kind == yaml.ScalarNode && node.Tag == "!!null":
		if v.Kind() == reflect.Pointer || v.Kind() == reflect.Struct && !isText(v.Type()) {
			wrong("a group of keys; {} is an empty one")
		}
	case isText(v.Type()) || v.Kind() != reflect.Struct && v.Kind() != reflect.Slice && v.Kind() != reflect.Map && v.Kind() != reflect.Pointer:
		if node.Kind != yaml.ScalarNode {
			wrong("one value")
		} else if err := setScalar(v, node.Value); err != nil {
			r.fault(at(path, node), "%v", err)
		}
	case v.Kind() == reflect.Pointer:
		if node.Kind != yaml.MappingNode {
			wrong("a group of keys; {} is an empty one")
			return
		}
		v.Set(reflect.New(v.Type().Elem()))
		r.defaults(v.Elem())
		r.decode(node, v.Elem(), path)
	case v.Kind() == reflect.Slice:
		r.decodeList(node, v, path, wrong)
	case v.Kind() == reflect.Map:
		r.decodeMap(node, v, path, wrong)
	default:
		r.decodeGroup(node, v, path, wrong)
	}
}

func (r *configReader) decodeList(node *yaml.Node, v reflect.Value, path string, wrong func(string)) {
	if node.Kind != yaml.SequenceNode {
		wrong("a list")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(node.Content), len(node.Content)))
	for i, element := range node.Content {
		if isGroup(v.Type().Elem()) {
			r.defaults(v.Index(i))
		}
		r.decode(element, v.Index(i), fmt.Sprintf("%s[%d]", path, i))
	}
}

func (r *configReader) decodeMap(node *yaml.Node, v reflect.Value, path string, wrong func(string)) {
	if node.Kind != yaml.MappingNode {
		wrong("a group of keys")
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for i := 0; i+1 < len(node.Content); i += 2 {
		value := reflect.New(v.Type().Elem()).Elem()
		r.decode(node.Content[i+1], value, join(path, node.Content[i].Value))
		v.SetMapIndex(reflect.ValueOf(node.Content[i].Value), value)
	}
}

func (r *configReader) decodeGroup(node *yaml.Node, v reflect.Value, path string, wrong func(string)) {
	if node.Kind != yaml.MappingNode {
		wrong("a group of keys")
		return
	}
	seen := make(map[string]bool)
	for i := 0; i+1 < len(node.Content); i += 2 {
		key := node.Content[i].Value
		field, ok := fieldNamed(v, key)
		switch place := at(join(path, key), node.Content[i]); {
		case !ok:
			r.fault(place, "there is no such key; here are: %s", strings.Join(keysOf(v.Type()), ", "))
		case seen[key]:
			r.fault(place, "the key is here twice")
		default:
			r.decode(node.Content[i+1], field, join(path, key))
		}
		seen[key] = true
	}
}

func at(path string, node *yaml.Node) string {
	path = cmp.Or(path, "file")
	if node.Line == 0 {
		return path
	}
	return fmt.Sprintf("%s (line %d)", path, node.Line)
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func keysOf(t reflect.Type) []string {
	keys := make([]string, 0, t.NumField())
	for i := range t.NumField() {
		keys = append(keys, t.Field(i).Tag.Get("yaml"))
	}
	return keys
}

func fieldNamed(v reflect.Value, key string) (reflect.Value, bool) {
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("yaml") == key {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

// setScalar reads text into one value; its error does not repeat the text.
func setScalar(v reflect.Value, text string) error {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return errors.New("expected a whole number")
		}
		v.SetInt(int64(n))
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return errors.New("expected true or false")
		}
		v.SetBool(b)
	default:
		return fmt.Errorf("expected something other than one value for %s", v.Type())
	}
	return nil
}

// environment lays variables over what the file said: outer keys first, so that EKC_SMSC replaces the list and EKC_SMSC_MAIN_RATE
// changes an entry of it. A variable that is no key is a fault: a misspelt name must not go unnoticed.
func (r *configReader) environment(environ []string, root reflect.Value) {
	vars := make(map[string]string)
	for _, entry := range environ {
		if name, value, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "EKC_") && !slices.Contains(notSettings, name) {
			vars[name] = value
		}
	}
	if len(vars) == 0 {
		return
	}
	used := make(map[string]bool)
	r.overlay(vars, used, root, "EKC", "")
	for _, name := range sortedKeys(vars) {
		if !used[name] {
			r.fault(name, "there is no such setting")
		}
	}
}

// overlay reports whether anything in v was set.
func (r *configReader) overlay(vars map[string]string, used map[string]bool, v reflect.Value, prefix, path string) (set bool) {
	if !anyWithPrefix(vars, prefix) {
		return false
	}
	for i := range v.NumField() {
		tag, field := v.Type().Field(i).Tag, v.Field(i)
		if tag.Get("env") == "-" {
			continue
		}
		key := tag.Get("yaml")
		name, place := prefix+"_"+envWord(key), join(path, key)
		if value, ok := vars[name]; ok {
			used[name], set = true, true
			r.fromVariable(name, value, field)
		}
		switch t := field.Type(); {
		case isGroup(t):
			set = r.overlay(vars, used, field, name, place) || set
		case t.Kind() == reflect.Pointer:
			inner := field
			if field.IsNil() {
				inner = reflect.New(t.Elem())
				r.defaults(inner.Elem())
			}
			if r.overlay(vars, used, inner.Elem(), name, place) {
				field.Set(inner)
				set = true
			}
		case t.Kind() == reflect.Slice && isGroup(t.Elem()):
			for j := range field.Len() {
				if named, ok := fieldNamed(field.Index(j), "name"); ok && named.String() != "" {
					set = r.overlay(vars, used, field.Index(j), name+"_"+envWord(named.String()), place) || set
				}
			}
		}
	}
	return set
}

func anyWithPrefix(vars map[string]string, prefix string) bool {
	for name := range vars {
		if strings.HasPrefix(name, prefix+"_") {
			return true
		}
	}
	return false
}

// fromVariable reads a variable: one value as it stands, a list of values separated by commas, anything else as YAML.
func (r *configReader) fromVariable(name, value string, field reflect.Value) {
	t := field.Type()
	node := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}
	switch {
	case isText(t) || t.Kind() != reflect.Slice && t.Kind() != reflect.Map && t.Kind() != reflect.Pointer && t.Kind() != reflect.Struct:
	case t.Kind() == reflect.Slice && !isGroup(t.Elem()) && !strings.HasPrefix(strings.TrimSpace(value), "["):
		node = &yaml.Node{Kind: yaml.SequenceNode}
		for part := range strings.SplitSeq(value, ",") {
			if part = strings.TrimSpace(part); part != "" {
				node.Content = append(node.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: part})
			}
		}
	default:
		var doc yaml.Node
		if err := yaml.Unmarshal([]byte(value), &doc); err != nil || len(doc.Content) == 0 {
			r.fault(name, "expected YAML such as {key: value} or [{key: value}]")
			return
		}
		node = doc.Content[0]
	}
	r.decode(node, field, name)
}

// envWord is a key or a name as it stands in a variable: capitals, everything but letters and digits as _.
func envWord(key string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z':
			return c - 'a' + 'A'
		case c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
			return c
		}
		return '_'
	}, key)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
