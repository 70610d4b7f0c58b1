package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"ekc/fixtures"
)

// file is a list on the disk, with what was measured of it.
type file struct {
	name, path string
	bytes      int64
	book       bool                // a workbook, not CSV
	measured   map[string][]sample // by what did it
}

// sample is one way of reading a file to its end.
type sample struct {
	seconds float64
	cpu     float64 // seconds, of the process
	peak    int     // bytes, of its memory
	upload  float64 // seconds until the file was stored; of the hub
	server  float64 // CPU seconds of PostgreSQL; of the hub
}

// makeFiles writes the lists as a stream. They hold the same people.
func (b *bench) makeFiles() error {
	for _, f := range []struct {
		name, path string
		write      func(io.Writer) error
	}{
		{"XLSX, inline strings", "inline.xlsx", func(w io.Writer) error { return fixtures.XLSX(w, b.rows, 1, false) }},
		{"XLSX, shared strings", "shared.xlsx", func(w io.Writer) error { return fixtures.XLSX(w, b.rows, 1, true) }},
		{"CSV", "list.csv", func(w io.Writer) error { return fixtures.CSV(w, b.rows, 1) }},
	} {
		path := filepath.Join(b.server.Dir, f.path)
		out, err := os.Create(path)
		if err != nil {
			return err
		}
		if err := errors.Join(f.write(out), out.Close()); err != nil {
			return err
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		b.files = append(b.files, file{name: f.name, path: path, bytes: info.Size(), book: filepath.Ext(path) == ".xlsx", measured: map[string][]sample{}})
	}
	return nil
}

// Ways of reading, in the order in which they are measured and shown.
const (
	wayInflate     = "inflate alone (the limit)"
	wayCSV         = "encoding/csv (the limit)"
	wayReader      = "ingest's reader alone"
	wayHub         = "hub: upload to ready"
	wayExcelize    = "excelize: reading"
	wayXLSX2CSV    = "xlsx2csv"
	wayLibreOffice = "LibreOffice: convert to csv"
)

var ways = []string{wayInflate, wayCSV, wayReader, wayHub, wayExcelize, wayXLSX2CSV, wayLibreOffice}

// measure reads a file in every way there is.
func (b *bench) measure(ctx context.Context, f *file) error {
	for _, way := range ways {
		began := time.Now()
		s, err := b.read(ctx, f, way)
		if errors.Is(err, errMissing) {
			b.missing[way] = err.Error()
			continue
		}
		if err != nil {
			return fmt.Errorf("%s, %s: %w", f.name, way, err)
		}
		if s.seconds == 0 {
			continue // not for this file
		}
		f.measured[way] = append(f.measured[way], s)
		fmt.Fprintf(os.Stderr, "%s, %s: %.1f s\n", f.name, way, time.Since(began).Seconds())
	}
	return ctx.Err()
}

// read does it in one way; a sample without seconds says that this way is not for this file.
func (b *bench) read(ctx context.Context, f *file, way string) (sample, error) {
	peer := way == wayExcelize || way == wayXLSX2CSV || way == wayLibreOffice
	if peer && (!b.peers || !f.book) || way == wayInflate && !f.book || way == wayCSV && f.book {
		return sample{}, nil
	}
	switch way {
	case wayHub:
		return b.hub(ctx, f)
	case wayXLSX2CSV:
		return b.program(ctx, "xlsx2csv", f.path, filepath.Join(b.server.Dir, "xlsx2csv.csv"))
	case wayLibreOffice:
		return b.program(ctx, "soffice", "-env:UserInstallation=file://"+filepath.Join(b.server.Dir, "office"), "--headless", "--norestore",
			"--convert-to", "csv:Text - txt - csv (StarCalc):59,34,76", "--outdir", filepath.Join(b.server.Dir, "converted"), f.path)
	}
	return b.self(ctx, way, f)
}
