package main

import (
	"fmt"
	"reflect"
	"strings"
)

// configReference is docs/config.md, made from the tags of Config.
func configReference() string {
	var b strings.Builder
	b.WriteString(`# Configuration

Made from the tags in ` + "`cmd/ekc/config.go`" + ` by ` + "`go test ./cmd/ekc -run TestConfigReference -update`" + `; do not edit.

One YAML file, named by ` + "`--config`" + ` or ` + "`EKC_CONFIG`" + `. Unknown keys are refused, and all faults are told at once: ` + "`ekc config check`" + `.
` + "`ekc config print`" + ` shows what is in force, secrets as ` + "`***`" + `. Every key can be overridden from the environment by the name in the last
column; entries of a list are named there by their ` + "`name`" + ` in capitals, everything but letters and digits as ` + "`_`" + `. Lists of values are
separated by commas, groups and lists of groups are written as YAML: ` + "`EKC_SMSC_MAIN_TLS='{}'`" + `. A variable that begins with ` + "`EKC_`" + ` and
names no key is refused as well, so a misspelt name does not go unnoticed.

Durations are written ` + "`30s`, `5m`, `72h`, `30d`" + `. Outside loopback every door is TLS, or the start refuses, unless ` + "`insecure_because`" + ` beside
that door's address says why it need not be. Sources, windows, caps, terms and routing of replies are not here: they are data of the
catalogue.

| key | default | meaning | environment |
| --- | --- | --- | --- |
`)
	referenceRows(&b, reflect.TypeFor[Config](), "", "EKC")
	return b.String()
}

func referenceRows(b *strings.Builder, t reflect.Type, path, prefix string) {
	for i := range t.NumField() {
		tag, ft := t.Field(i).Tag, t.Field(i).Type
		key := join(path, tag.Get("yaml"))
		name := prefix + "_" + envWord(tag.Get("yaml"))
		inner, innerPrefix := ft, name
		shown := key
		switch {
		case ft.Kind() == reflect.Pointer:
			inner = ft.Elem()
		case ft.Kind() == reflect.Slice && isGroup(ft.Elem()):
			inner, shown = ft.Elem(), key+"[]"
			innerPrefix = ""
			if field, ok := inner.FieldByName("Name"); ok && field.Tag.Get("env") == "-" {
				innerPrefix = name + "_<NAME>"
			}
		}
		value := tag.Get("default")
		if value != "" {
			value = "`" + value + "`"
		}
		variable := "`" + name + "`"
		if tag.Get("env") == "-" || prefix == "" {
			variable = ""
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", shown, value, strings.ReplaceAll(tag.Get("doc"), "|", `\|`), variable)
		if isGroup(inner) {
			referenceRows(b, inner, shown, innerPrefix)
		}
	}
}
