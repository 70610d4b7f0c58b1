package ingest

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// bookWriter writes a workbook (ECMA-376 part 1) as it goes: a cell is on its way to the reader before the next one is looked at, so that
// memory does not grow with the rows and nothing of them is ever in a temporary file, where excelize would put what is over 16 MB.
// Every cell is text: a workbook that goes back to its sender must not turn a СНИЛС into a number, nor anybody's words into a formula.
type bookWriter struct {
	zip    *zip.Writer
	plans  []sheetPlan   // still to be opened
	plan   sheetPlan     // of what is being written
	more   int           // sheets that go on with it
	sheets []sheetPlan   // opened
	sheet  *bufio.Writer // the last of them, being written; nil = none
	row    int           // its last row
	above  int           // rows that stand on sheets before this one, which goes on with them
	titles []string      // of its columns
	rows   int           // that a sheet has room for
	buf    bytes.Buffer
	err    error // the first that occurred; everything after it is left out
}

// sheetPlan is a sheet before its rows are known.
type sheetPlan struct {
	name   string // at most 31 characters, none of []:*?/\
	header int    // number of the row that stays in sight and is printed on every page; 0 = none
	widths []int  // of the columns, in characters; of the others the program's own
}

// lineHeight is that of a line of text, in points.
const lineHeight = 15

// bookRows is how many rows a sheet has room for.
const bookRows = 1 << 20

// Styles of cells, as styles.xml counts them.
const (
	styleText = 1 + iota
	styleTitle
	styleWrapped
	styleHeading
)

const (
	xmlHead       = `<?xml version="1.0" encoding="UTF-8" standalone="yes"?>` + "\n"
	mainNS        = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
	relationsNS   = "http://schemas.openxmlformats.org/package/2006/relationships"
	officeDocNS   = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
	contentTypeNS = "http://schemas.openxmlformats.org/package/2006/content-types"
	sheetMLType   = "application/vnd.openxmlformats-officedocument.spreadsheetml."

	// The number format 49 is "@": what is typed over a cell stays text, too.
	stylesXML = xmlHead + `<styleSheet xmlns="` + mainNS + `"><fonts count="3"><font><sz val="11"/><name val="Calibri"/></font>` +
		`<font><b/><sz val="11"/><name val="Calibri"/></font><font><b/><sz val="14"/><name val="Calibri"/></font></fonts>` +
		`<fills count="2"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill></fills>` +
		`<borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>` +
		`<cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs><cellXfs count="5">` +
		`<xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/>` +
		`<xf numFmtId="49" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/>` +
		`<xf numFmtId="49" fontId="1" fillId="0" borderId="0" xfId="0" applyNumberFormat="1" applyFont="1"/>` +
		`<xf numFmtId="49" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1" applyAlignment="1"><alignment vertical="top" wrapText="1"/></xf>` +
		`<xf numFmtId="49" fontId="2" fillId="0" borderId="0" xfId="0" applyNumberFormat="1" applyFont="1"/>` +
		`</cellXfs></styleSheet>`
)

// newBook starts a workbook of these sheets; next opens them, one after another. What has no room on one goes on on another of its own.
func newBook(w io.Writer, sheets ...sheetPlan) *bookWriter {
	b := &bookWriter{zip: zip.NewWriter(w), plans: sheets, rows: bookRows}
	b.zip.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestSpeed) })
	return b
}

// frame writes the parts that say which sheets there are.
func (b *bookWriter) frame() {
	var types, relations, list, names strings.Builder
	for i, s := range b.sheets {
		fmt.Fprintf(&types, `<Override PartName="/xl/worksheets/sheet%d.xml" ContentType="%sworksheet+xml"/>`, i+1, sheetMLType)
		fmt.Fprintf(&relations, `<Relationship Id="rId%d" Type="%s/worksheet" Target="worksheets/sheet%d.xml"/>`, i+1, officeDocNS, i+1)
		fmt.Fprintf(&list, `<sheet name="%s" sheetId="%d" r:id="rId%d"/>`, s.name, i+1, i+1)
		if s.header > 0 {
			fmt.Fprintf(&names, `<definedName name="_xlnm.Print_Titles" localSheetId="%d">'%s'!$%d:$%d</definedName>`, i, s.name, s.header, s.header)
		}
	}
	if names.Len() > 0 {
		list.WriteString(`</sheets><definedNames>` + names.String() + `</definedNames>`)
	} else {
		list.WriteString(`</sheets>`)
	}
	b.part("[Content_Types].xml", xmlHead+`<Types xmlns="`+contentTypeNS+`"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>`+
		`<Default Extension="xml" ContentType="application/xml"/><Override PartName="/xl/workbook.xml" ContentType="`+sheetMLType+`sheet.main+xml"/>`+
		`<Override PartName="/xl/styles.xml" ContentType="`+sheetMLType+`styles+xml"/>`+types.String()+`</Types>`)
	b.part("_rels/.rels", xmlHead+`<Relationships xmlns="`+relationsNS+`"><Relationship Id="rId1" Type="`+officeDocNS+`/officeDocument" Target="xl/workbook.xml"/></Relationships>`)
	b.part("xl/workbook.xml", xmlHead+`<workbook xmlns="`+mainNS+`" xmlns:r="`+officeDocNS+`"><sheets>`+list.String()+`</workbook>`)
	b.part("xl/_rels/workbook.xml.rels", fmt.Sprintf(`%s<Relationships xmlns="%s">%s<Relationship Id="rId%d" Type="%s/styles" Target="styles.xml"/></Relationships>`,
		xmlHead, relationsNS, relations.String(), len(b.sheets)+1, officeDocNS))
	b.part("xl/styles.xml", stylesXML)
}

func (b *bookWriter) part(name, content string) {
	if b.err != nil {
		return
	}
	w, err := b.zip.Create(name)
	if err == nil {
		_, err = io.WriteString(w, content)
	}
	b.err = err
}

// next closes the sheet being written and opens the one after it.
func (b *bookWriter) next() {
	b.plan, b.plans = b.plans[0], b.plans[1:]
	b.above, b.more, b.titles = 0, 0, nil
	b.open(b.plan)
}

// goOn opens another sheet for a row that has no room, under the same titles.
func (b *bookWriter) goOn(no int) {
	b.more++
	plan := b.plan
	plan.name, plan.header = fmt.Sprintf("%s (%d)", plan.name, b.more+1), min(plan.header, 1)
	b.above = 0
	b.open(plan)
	if b.titles != nil {
		b.line(styleTitle, b.titles...)
	}
	b.above = no - b.row - 1
}

func (b *bookWriter) open(plan sheetPlan) {
	b.closeSheet()
	if b.err != nil {
		return
	}
	b.sheets = append(b.sheets, plan)
	w, err := b.zip.Create(fmt.Sprintf("xl/worksheets/sheet%d.xml", len(b.sheets)))
	if err != nil {
		b.err = err
		return
	}
	b.sheet, b.row = bufio.NewWriterSize(w, 32<<10), 0
	b.text(xmlHead + `<worksheet xmlns="` + mainNS + `"><sheetPr><pageSetUpPr fitToPage="1"/></sheetPr>`)
	if plan.header > 0 {
		b.text(fmt.Sprintf(`<sheetViews><sheetView workbookViewId="0"><pane ySplit="%d" topLeftCell="A%d" activePane="bottomLeft" state="frozen"/></sheetView></sheetViews>`,
			plan.header, plan.header+1))
	}
	if len(plan.widths) > 0 {
		b.text(`<cols>`)
		for i, width := range plan.widths {
			b.text(fmt.Sprintf(`<col min="%d" max="%d" width="%d" customWidth="1"/>`, i+1, i+1, width))
		}
		b.text(`</cols>`)
	}
	b.text(`<sheetData>`)
}

func (b *bookWriter) text(s string) {
	if b.err == nil {
		_, b.err = b.sheet.WriteString(s)
	}
}

func (b *bookWriter) line(style int, cells ...string) { b.rowAt(b.above+b.row+1, style, cells) }

// rowAt writes a row under a number of its own, which must be above the last one's; on a sheet that goes on with another it is counted
// from the first of them.
func (b *bookWriter) rowAt(no, style int, cells []string) {
	if b.err != nil {
		return
	}
	if style == styleTitle {
		b.titles = slices.Clone(cells)
	}
	if no-b.above > b.rows {
		if b.goOn(no); b.err != nil {
			return
		}
	}
	if no -= b.above; no <= b.row {
		b.err = fmt.Errorf("workbook: no place for row %d", no)
		return
	}
	b.row = no
	b.buf.Reset()
	number := strconv.Itoa(no)
	b.buf.WriteString(`<row r="` + number + `"`)
	if lines := b.lines(style, cells); lines > 1 {
		fmt.Fprintf(&b.buf, ` ht="%d" customHeight="1"`, lines*lineHeight)
	}
	b.buf.WriteString(`>`)
	for i, s := range cells {
		if s == "" {
			continue
		}
		fmt.Fprintf(&b.buf, `<c r="%s%s" s="%d" t="inlineStr"><is><t xml:space="preserve">`, columnName(i), number, style)
		if err := xml.EscapeText(&b.buf, []byte(escapeHex(s))); err != nil {
			b.err = err
			return
		}
		b.buf.WriteString(`</t></is></c>`)
	}
	b.buf.WriteString(`</row>`)
	_, b.err = b.sheet.Write(b.buf.Bytes())
}

// lines is how many of them the tallest cell of a wrapped row takes. Not every program works that out when it opens a book, and what does
// not fit would be hidden by the next row, on paper too. A column holds fewer Cyrillic letters than figures, by which its width is counted.
func (b *bookWriter) lines(style int, cells []string) int {
	most := 1
	if style != styleWrapped {
		return most
	}
	widths := b.sheets[len(b.sheets)-1].widths
	for i, s := range cells[:min(len(cells), len(widths))] {
		room := max(widths[i]*9/10, 1)
		most = max(most, (utf8.RuneCountInString(s)+room-1)/room)
	}
	return most
}

func (b *bookWriter) closeSheet() {
	if b.sheet == nil || b.err != nil {
		return
	}
	b.text(`</sheetData><pageSetup paperSize="9" orientation="landscape" fitToHeight="0"/></worksheet>`)
	if b.err == nil {
		b.err = b.sheet.Flush()
	}
	b.sheet = nil
}

// close ends the workbook. Without it, and after an error, what was written cannot be opened by anybody.
func (b *bookWriter) close() error {
	b.closeSheet()
	b.frame()
	if b.err == nil {
		b.err = b.zip.Close()
	}
	if b.err != nil {
		return fmt.Errorf("write workbook: %w", b.err)
	}
	return nil
}

// escapeHex keeps text that looks like an escape of 22.9.2.19 from being read as one.
func escapeHex(s string) string {
	if !strings.Contains(s, "_x") {
		return s
	}
	return escapedChar.ReplaceAllString(s, "_x005F$0")
}

// columnName is "A" for 0.
func columnName(i int) string {
	var name []byte
	for i++; i > 0; i = (i - 1) / 26 {
		name = append([]byte{byte('A' + (i-1)%26)}, name...)
	}
	return string(name)
}
