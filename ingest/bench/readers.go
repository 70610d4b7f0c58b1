package main

import (
	"archive/zip"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/xuri/excelize/v2"

	"ekc/ingest"
	"ekc/postgres/measure"
)

// roleVariable makes a copy of this program one of the readers. It prints the rows it has seen and the most memory it had.
const roleVariable = "BENCH_READER"

// errMissing is said of a program that is not installed.
var errMissing = errors.New("not installed")

var readers = map[string]func(path string) (rows int, err error){
	wayInflate: inflate, wayCSV: encodingCSV, wayReader: ownReader, wayExcelize: excelizeRows,
}

func serveRole(way, path string) int {
	read, ok := readers[way]
	if !ok {
		fmt.Fprintln(os.Stderr, "no such reader:", way)
		return 2
	}
	rows, err := read(path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(rows, measure.Peak(os.Getpid()))
	return 0
}

// inflate unpacks every part once; it sees no rows.
func inflate(path string) (int, error) {
	z, err := zip.OpenReader(path)
	if err != nil {
		return 0, err
	}
	defer z.Close()
	for _, f := range z.File {
		in, err := f.Open()
		if err != nil {
			return 0, err
		}
		if _, err := io.Copy(io.Discard, in); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

func encodingCSV(path string) (rows int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comma, r.ReuseRecord = ';', true
	for {
		if _, err := r.Read(); err == io.EOF {
			return rows - 1, nil // without the header
		} else if err != nil {
			return rows, err
		}
		rows++
	}
}

func ownReader(path string) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return ingest.CountRows(f, info.Size())
}

// excelizeRows reads by the iterator, which is excelize's cheapest way.
func excelizeRows(path string) (rows int, err error) {
	f, err := excelize.OpenFile(path, excelize.Options{UnzipSizeLimit: 8 << 30, UnzipXMLSizeLimit: 16 << 20, RawCellValue: true})
	if err != nil {
		return 0, err
	}
	defer f.Close()
	r, err := f.Rows(f.GetSheetName(0))
	if err != nil {
		return 0, err
	}
	defer r.Close()
	for r.Next() {
		if _, err := r.Columns(); err != nil {
			return rows, err
		}
		rows++
	}
	return rows - 1, r.Error()
}

// self starts a reader and holds it to the rows that the file has.
func (b *bench) self(ctx context.Context, way string, f *file) (sample, error) {
	exe, err := os.Executable()
	if err != nil {
		return sample{}, err
	}
	cmd := exec.CommandContext(ctx, exe, f.path)
	cmd.Env = append(os.Environ(), roleVariable+"="+way)
	var said strings.Builder
	cmd.Stdout = &said
	s, err := timed(cmd)
	if err != nil {
		return s, err
	}
	var rows int
	if _, err := fmt.Sscan(said.String(), &rows, &s.peak); err != nil || rows != b.rows && way != wayInflate {
		return s, fmt.Errorf("%d rows of %d, %w", rows, b.rows, err)
	}
	return s, nil
}

// program runs a peer that is installed or not.
func (b *bench) program(ctx context.Context, name string, args ...string) (sample, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w", name, errMissing)
	}
	return timed(exec.CommandContext(ctx, path, args...))
}

// timed runs a program to its end. Its memory is the most that it, or a child it waited for, ever had; never less than this program has,
// from which it was started (getrusage(2), ru_maxrss).
func timed(cmd *exec.Cmd) (sample, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if cmd.Stderr == nil {
		cmd.Stderr = os.Stderr
	}
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return sample{}, err
	}
	s := sample{seconds: time.Since(began).Seconds(), cpu: (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()}
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		s.peak = int(u.Maxrss) << 10
	}
	return s, nil
}
