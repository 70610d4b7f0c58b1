package ingest

import (
	"archive/zip"
	"cmp"
	"errors"
	"io"
	"path"
	"strings"
)

// workbook is the zip container with its parts by name, and what xl/workbook.xml says of them.
type workbook struct {
	parts       map[string]*zip.File
	limits      Limits
	date04      bool
	sheet       string // part of the first worksheet that is shown
	others      int    // worksheets that are shown beside it
	hidden      int    // and that are not
	stringsPart string
	stylesPart  string
}

const (
	// More than any book of a list has.
	maxParts     = 10_000
	maxRelations = 10_000
	maxSheets    = 10_000
	// maxDirectory bounds what archive/zip reads, and so holds, of the directory, which may claim to be as long as the file.
	maxDirectory = 8 << 20
)

// budget lets so many bytes be read.
type budget struct {
	io.ReaderAt
	left int64
}

var errBudget = errors.New("more was read than the budget lets")

func (b *budget) ReadAt(p []byte, off int64) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, errBudget
	}
	return b.ReaderAt.ReadAt(p, off)
}

func openWorkbook(file io.ReaderAt, size int64, limits Limits) (*workbook, error) {
	in := &budget{file, maxDirectory}
	z, err := zip.NewReader(in, size)
	switch {
	case errors.Is(err, errBudget):
		return nil, ErrZipBomb
	case err != nil:
		return nil, ErrDamaged
	case len(z.File) > maxParts:
		return nil, ErrZipBomb
	}
	in.left = 1 << 62
	b := &workbook{parts: make(map[string]*zip.File, len(z.File)), limits: limits}
	var total uint64
	for _, f := range z.File {
		name := f.Name
		if strings.Contains(name, "..") || strings.Contains(name, `\`) || strings.HasPrefix(name, "/") || strings.Contains(name, ":") {
			return nil, ErrPaths
		}
		if f.Flags&1 != 0 { // APPNOTE 4.4.4: encrypted
			return nil, ErrPassword
		}
		key := strings.ToLower(name)
		if b.parts[key] != nil {
			return nil, ErrDamaged
		}
		b.parts[key] = f
		total += f.UncompressedSize64
		if f.UncompressedSize64 > uint64(limits.UnpackedBytes) || total > uint64(limits.UnpackedBytes) {
			return nil, ErrZipBomb
		}
	}
	for name := range b.parts {
		switch {
		case strings.HasSuffix(name, "vbaproject.bin"), strings.HasPrefix(name, "xl/macrosheets/"), strings.HasPrefix(name, "xl/dialogsheets/"):
			return nil, ErrMacros
		case strings.HasPrefix(name, "xl/externallinks/"):
			return nil, ErrLinks
		}
	}
	switch {
	case b.parts["xl/workbook.bin"] != nil:
		return nil, ErrFormatXLSB
	case b.parts["content.xml"] != nil && b.parts["mimetype"] != nil:
		return nil, ErrFormatODS
	case b.parts["[content_types].xml"] == nil:
		return nil, ErrFormatOther
	}
	return b, b.readWorkbook()
}

// part finds a part by its name, which is compared without case (ECMA-376 part 2, 6.2.2.3).
func (b *workbook) part(name string) *zip.File { return b.parts[strings.ToLower(name)] }

// open opens a part for reading; nil when there is no such part. Its bytes are bounded by the declared size, which archive/zip enforces.
func (b *workbook) open(name string) (*xmlScanner, error) {
	f := b.part(name)
	if f == nil {
		return nil, nil
	}
	in, err := f.Open()
	if err != nil {
		return nil, ErrDamaged
	}
	return newXMLScanner(in), nil
}

// readWorkbook reads the part that names the sheets (18.2.27), and where the package keeps what they need.
func (b *workbook) readWorkbook() error {
	top, err := b.relationships("")
	if err != nil {
		return err
	}
	root := top.first("officeDocument", "xl/workbook.xml")
	related, err := b.relationships(root)
	if err != nil {
		return err
	}
	folder := path.Dir(root)
	b.stringsPart = related.first("sharedStrings", path.Join(folder, "sharedStrings.xml"))
	b.stylesPart = related.first("styles", path.Join(folder, "styles.xml"))
	x, err := b.open(root)
	if err != nil {
		return err
	}
	if x == nil {
		return ErrFormatOther
	}
	defer x.close()
	isBook, sheets := false, 0
	err = x.elements(func() error {
		switch {
		case x.is("workbook"):
			isBook = true
		case x.is("workbookPr"):
			b.date04 = isTrue(x.attr("date1904"))
		case x.is("sheet"):
			if sheets++; sheets > maxSheets {
				return ErrZipBomb
			}
			state := x.attr("state")
			to := related[x.prefixed("id")]
			switch {
			case to.kind != "worksheet":
			case state != "" && state != "visible":
				b.hidden++
			case b.sheet == "":
				b.sheet = to.part
			default:
				b.others++
			}
		}
		return nil
	})
	if err == nil && !isBook {
		return ErrFormatOther
	}
	return err
}

// target is what a relationship leads to; kind is the last word of its type.
type target struct{ part, kind string }

type relations map[string]target

// first is the part of a kind, of several the first by name, or the usual one where the package names none.
func (r relations) first(kind, usual string) string {
	found := ""
	for _, t := range r {
		if t.kind == kind && (found == "" || t.part < found) {
			found = t.part
		}
	}
	return cmp.Or(found, usual)
}

// relationships reads the targets of a part's relationships by id (ECMA-376 part 2, 9.3); of the package itself for "".
func (b *workbook) relationships(part string) (relations, error) {
	folder, file := path.Split(part)
	x, err := b.open(folder + "_rels/" + file + ".rels")
	if err != nil || x == nil {
		return nil, err
	}
	defer x.close()
	targets := make(relations)
	return targets, x.elements(func() error {
		if !x.is("Relationship") {
			return nil
		}
		kind, to := path.Base(x.attr("Type")), x.attr("Target")
		switch kind {
		case "vbaProject", "xlMacrosheet", "xlIntlMacrosheet":
			return ErrMacros
		case "externalLink", "externalLinkPath":
			return ErrLinks
		}
		if x.attr("TargetMode") == "External" {
			return nil
		}
		if strings.HasPrefix(to, "/") {
			to = to[1:]
		} else {
			to = path.Join(folder, to)
		}
		if targets[x.attr("Id")] = (target{to, kind}); len(targets) > maxRelations {
			return ErrZipBomb
		}
		return nil
	})
}
