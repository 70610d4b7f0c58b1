package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// forge makes the state file say that the journal was seen to be so long.
func forge(t *testing.T, dir string, size int64) {
	t.Helper()
	path := filepath.Join(dir, "position")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("the hub left no state file: %v", err)
	}
	if err := os.WriteFile(path, fmt.Appendf(nil, "journal %d %s\n", size, strings.Repeat("ab", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
}
