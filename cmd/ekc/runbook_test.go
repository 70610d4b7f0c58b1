package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"ekc/dispatch"
	"ekc/egisso"
	"ekc/ingest"
	"ekc/openapi/webhook"
)

func readFile(t *testing.T, parts ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{"..", ".."}, parts...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAlertsAndStatusNameSectionsOfTheRunbookThatAreThere(t *testing.T) {
	t.Parallel()
	sections := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(readFile(t, "docs", "operation.md"), -1) {
		anchor := regexp.MustCompile(`[^\p{L}\p{N} -]`).ReplaceAllString(strings.ToLower(m[1]), "")
		sections[strings.ReplaceAll(anchor, " ", "-")] = true
	}
	alerts := readFile(t, "deploy", "alerts.yml")
	named := regexp.MustCompile(`operation\.md#([a-z-]+)`).FindAllStringSubmatch(alerts, -1)
	if n := strings.Count(alerts, "- alert:"); n == 0 || n != len(named) {
		t.Errorf("%d alerts name %d sections", n, len(named))
	}
	named = append(named, regexp.MustCompile(`Section: "([a-z-]+)"`).FindAllStringSubmatch(readFile(t, "cmd", "ekc", "status.go")+readFile(t, "cmd", "ekc", "feed.go"), -1)...)
	named = append(named, regexp.MustCompile(`operation\.md#([a-z-]+)`).FindAllStringSubmatch(readFile(t, "cmd", "ekc", "shut_gate.go"), -1)...)
	for _, m := range named {
		if !sections[m[1]] {
			t.Errorf("docs/operation.md has no section #%s", m[1])
		}
	}
}

func TestAlertsWatchMetricsThatExist(t *testing.T) {
	t.Parallel()
	registry := newRegistry()
	newObserver(registry, &Config{SMSC: []SMSCConfig{{Name: "main"}}})
	dispatch.NewMetrics(registry)
	ingest.New(ingest.Config{Metrics: registry})
	egisso.NewPublisher(egisso.PublisherConfig{Metrics: registry})
	webhook.New(webhook.Config{Metrics: registry})
	egisso.NewFeed(egisso.FeedConfig{Metrics: registry})
	described := make(chan *prometheus.Desc, 1000)
	registry.Describe(described)
	close(described)
	exist := map[string]bool{"ekc_http_request_seconds": true, "ekc_http_refused_total": true} // openapi's, which need a database
	for d := range described {
		exist[regexp.MustCompile(`fqName: "([^"]*)"`).FindStringSubmatch(d.String())[1]] = true
	}
	for _, name := range regexp.MustCompile(`ekc_[a-z_]+`).FindAllString(readFile(t, "deploy", "alerts.yml"), -1) {
		base := strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_count")
		if !exist[name] && !exist[base] {
			t.Errorf("no metric %s", name)
		}
	}
}
