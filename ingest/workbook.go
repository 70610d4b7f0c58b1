package ingest

import (
	"archive/zip"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// workbook is the zip container with its parts by name.
type workbook struct {
	parts  map[string]*zip.File
	limits Limits
	date04 bool
	sheets []sheetRef
}

type sheetRef struct {
	part    string
	visible bool
}

func openWorkbook(file io.ReaderAt, size int64, limits Limits) (*workbook, error) {
	z, err := zip.NewReader(file, size)
	if err != nil {
		return nil, ErrDamaged
	}
	b := &workbook{parts: make(map[string]*zip.File, len(z.File)), limits: limits}
	if len(z.File) > 10_000 {
		return nil, ErrZipBomb
	}
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

// decoder opens a part for reading; its bytes are bounded by the declared size, which archive/zip enforces.
func (b *workbook) decoder(name string) (*xml.Decoder, bool, error) {
	f := b.parts[strings.ToLower(name)]
	if f == nil {
		return nil, false, nil
	}
	in, err := f.Open()
	if err != nil {
		return nil, true, ErrDamaged
	}
	return newDecoder(in), true, nil
}

func newDecoder(in io.Reader) *xml.Decoder {
	d := xml.NewDecoder(in)
	d.CharsetReader = func(label string, _ io.Reader) (io.Reader, error) {
		return nil, fmt.Errorf("part in %s, not in UTF-8", label)
	}
	return d
}

// token is the next token of a part. Its error is io.EOF at the end and a *Fault otherwise.
func token(d *xml.Decoder) (xml.Token, error) {
	t, err := d.RawToken()
	switch {
	case err == nil:
		if _, ok := t.(xml.Directive); ok {
			return nil, ErrDoctype
		}
		return t, nil
	case errors.Is(err, io.EOF):
		return nil, io.EOF
	default:
		return nil, ErrDamaged
	}
}

func attr(e xml.StartElement, local string) string {
	for _, a := range e.Attr {
		if a.Name.Local == local {
			return a.Value
		}
	}
	return ""
}

// readWorkbook reads xl/workbook.xml (18.2.27) and its relationships.
func (b *workbook) readWorkbook() error {
	root, err := b.rootPart()
	if err != nil {
		return err
	}
	targets, err := b.relationships(root)
	if err != nil {
		return err
	}
	d, ok, err := b.decoder(root)
	if err != nil {
		return err
	}
	if !ok {
		return ErrFormatOther
	}
	for {
		t, err := token(d)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		e, ok := t.(xml.StartElement)
		if !ok {
			continue
		}
		switch e.Name.Local {
		case "workbookPr":
			b.date04 = isTrue(attr(e, "date1904"))
		case "sheet":
			state := attr(e, "state")
			var id string
			for _, a := range e.Attr {
				if a.Name.Local == "id" && a.Name.Space != "" {
					id = a.Value
				}
			}
			b.sheets = append(b.sheets, sheetRef{part: targets[id].part, visible: (state == "" || state == "visible") && targets[id].worksheet})
		}
	}
}

type target struct {
	part      string
	worksheet bool
}

// rootPart is the part that the package names as its office document; almost always xl/workbook.xml.
func (b *workbook) rootPart() (string, error) {
	targets, err := b.relationships("")
	if err != nil {
		return "", err
	}
	for _, t := range targets {
		if strings.HasSuffix(t.part, "workbook.xml") {
			return t.part, nil
		}
	}
	return "xl/workbook.xml", nil
}

// relationships reads the targets of a part's relationships by id (ECMA-376 part 2, 9.3); of the package itself for "".
func (b *workbook) relationships(part string) (map[string]target, error) {
	folder, file := path.Split(part)
	d, ok, err := b.decoder(folder + "_rels/" + file + ".rels")
	if err != nil || !ok {
		return nil, err
	}
	targets := make(map[string]target)
	for {
		t, err := token(d)
		if errors.Is(err, io.EOF) {
			return targets, nil
		}
		if err != nil {
			return nil, err
		}
		e, ok := t.(xml.StartElement)
		if !ok || e.Name.Local != "Relationship" {
			continue
		}
		kind, to := attr(e, "Type"), attr(e, "Target")
		if attr(e, "TargetMode") == "External" {
			if strings.HasSuffix(kind, "/externalLinkPath") {
				return nil, ErrLinks
			}
			continue
		}
		if strings.HasPrefix(to, "/") {
			to = to[1:]
		} else {
			to = path.Join(folder, to)
		}
		targets[attr(e, "Id")] = target{part: to, worksheet: strings.HasSuffix(kind, "/worksheet")}
	}
}

func (b *workbook) firstVisibleSheet() (*zip.File, error) {
	for _, s := range b.sheets {
		if !s.visible {
			continue
		}
		f := b.parts[strings.ToLower(s.part)]
		if f == nil {
			return nil, ErrDamaged
		}
		return f, nil
	}
	return nil, ErrNoSheet
}

// sharedStrings reads the table of strings (18.4.9), phonetic runs left out.
func (b *workbook) sharedStrings() ([]string, error) {
	d, ok, err := b.decoder("xl/sharedStrings.xml")
	if err != nil || !ok {
		return nil, err
	}
	var all []string
	var total int64
	for {
		t, err := token(d)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if e, ok := t.(xml.StartElement); ok && e.Name.Local == "si" {
			s, err := richText(d, "si", b.limits.FieldBytes)
			if err != nil {
				return nil, err
			}
			all = append(all, s)
			if total += int64(len(s)) + 16; total > b.limits.StringBytes {
				return nil, ErrZipBomb
			}
		}
	}
}

// richText joins the text of an element that holds t, or runs of t, up to its end.
func richText(d *xml.Decoder, end string, most int) (string, error) {
	var b []byte
	inText, phonetic := false, 0
	for {
		t, err := token(d)
		if err != nil {
			return "", damagedAtEnd(err)
		}
		switch t := t.(type) {
		case xml.StartElement:
			inText = t.Name.Local == "t"
			if t.Name.Local == "rPh" {
				phonetic++
			}
		case xml.CharData:
			if inText && phonetic == 0 && len(b) <= most {
				b = append(b, t...)
			}
		case xml.EndElement:
			inText = false
			switch t.Name.Local {
			case "rPh":
				phonetic--
			case end:
				return unescapeXML(string(b)), nil
			}
		}
	}
}

var escapedChar = regexp.MustCompile(`_x([0-9A-Fa-f]{4})_`)

// unescapeXML turns _x000D_ and its like (22.9.2.19) into the characters they stand for.
func unescapeXML(s string) string {
	if !strings.Contains(s, "_x") {
		return s
	}
	return escapedChar.ReplaceAllStringFunc(s, func(m string) string {
		n, err := strconv.ParseUint(m[2:6], 16, 16)
		if err != nil {
			return m
		}
		return string(rune(n))
	})
}

func damagedAtEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return ErrDamaged
	}
	return err
}
