package ingest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"ekc/catalog"
)

// act is the load protocol of a list as a sheet to print and sign.
type act struct {
	facts  [][2]string
	faults []faultCount
}

// faultCount is how many rows a rule was said of.
type faultCount struct {
	Code RuleCode
	Type int
	Rows int
}

const faultCountsSQL = `SELECT rule_code, message_type, count(DISTINCT row_no) FROM rejections WHERE list_no = $1 GROUP BY 1, 2 ORDER BY 2, 1`

func (s *Service) act(ctx context.Context, o *original) (*act, error) {
	a := &act{}
	rows, err := s.cfg.DB.Query(ctx, faultCountsSQL, o.list.No)
	if err != nil {
		return nil, fmt.Errorf("count faults: %w", err)
	}
	if a.faults, err = pgx.CollectRows(rows, pgx.RowToStructByPos[faultCount]); err != nil {
		return nil, fmt.Errorf("count faults: %w", err)
	}
	checked, err := s.checkedAt(ctx, o.list.No)
	if err != nil {
		return nil, err
	}
	l, c, at := o.list, s.cfg.Catalog(), o.claim.at
	a.fact("Список", l.Name)
	a.fact("Номер списка", l.ID.String())
	agency := l.Agency
	if found, ok := c.Agency(l.Agency, at); ok {
		agency = found.Title + " (" + l.Agency + ")"
	}
	a.fact("Ведомство", agency)
	a.fact("Загрузил", l.LoadedBy)
	a.fact("Получен (МСК)", clock(at))
	if checked != nil {
		a.fact("Проверен (МСК)", clock(*checked))
	}
	state, _ := s.title("list", string(l.State))
	a.fact("Состояние", state)
	a.fact("Причина", l.StateReason)
	a.fact("Утвердил", l.ApprovedBy)
	a.fact("Утверждён (МСК)", clock(l.ApprovedAt))
	basis := "не указано"
	if b := l.LegalBasis; b != nil {
		basis = b.Document + " от " + b.Day() + " (" + b.Code + ")"
	}
	a.fact("Правовое основание", basis)
	a.fact("По чьему распоряжению", cmp.Or(l.OrderedBy, "не указано"))
	if event, ok := c.LifeEvent(l.LifeEvent, at); ok {
		a.fact("Событие", event.Name+" ("+event.Code+")")
	}
	if t, ok := c.Template(l.Template, l.TemplateVersion); ok {
		a.fact("Шаблон", fmt.Sprintf("%s (%s, версия %d)", t.Title, t.Code, t.Version))
	}
	var known, other []string
	for _, column := range o.rows.header.columns {
		switch {
		case column.Title == "" || isOwn(column.Title):
		case column.Name != "":
			said := "«" + column.Title + "»"
			if title := titleNamed(column.Name); catalog.Fold(title) != catalog.Fold(column.Title) {
				said += " – это «" + title + "»"
			}
			known = append(known, said)
		default:
			other = append(other, "«"+column.Title+"»")
		}
	}
	a.fact("Столбцы распознаны", strings.Join(known, ", "))
	a.fact("Столбцы для шаблона", strings.Join(other, ", "))
	var outline Outline
	if err := s.outlineOf(ctx, l.No, &outline); err != nil {
		return nil, err
	}
	for _, note := range outline.Notes {
		a.fact("О файле", note.Report)
	}
	a.fact("Строк в файле", strconv.Itoa(l.Rows))
	a.fact("Принято", strconv.Itoa(l.Accepted))
	a.fact("из них с замечаниями", strconv.Itoa(l.Warnings))
	a.fact("из них повторы, не отправляются", strconv.Itoa(l.Suppressed))
	a.fact("Не принято", strconv.Itoa(l.Rejected))
	a.fact("Приняты раньше, пропущены", strconv.Itoa(l.Skipped))
	a.fact("Частей СМС", strconv.FormatInt(l.Segments, 10))
	return a, nil
}

// fact adds a line; one without a value is left out.
func (a *act) fact(name, value string) {
	if value != "" {
		a.facts = append(a.facts, [2]string{name, value})
	}
}

// write ends the sheet with where the rows came from: the file by its checksum, so that the paper can be held against it.
func (a *act) write(b *bookWriter, o *original, whole bool) error {
	if byTitle(o.claim.format) {
		sum := sha256.New()
		if _, err := io.Copy(sum, io.NewSectionReader(o.file, 0, o.claim.size)); err != nil {
			return o.file.cause(err)
		}
		a.fact("Файл", fmt.Sprintf("%s, %d байт", strings.ToUpper(o.claim.format), o.claim.size))
		a.fact("SHA-256 файла", hex.EncodeToString(sum.Sum(nil)))
	}
	if !whole {
		a.fact("Внимание", "Показаны не все строки: дальше файл не читается.")
	}
	b.line(styleHeading, "Протокол загрузки списка")
	b.line(styleText)
	for _, f := range a.facts {
		b.line(styleWrapped, f[0], f[1])
	}
	b.line(styleText)
	b.line(styleTitle, "Код", "Строк", "Что это", "Что сделать")
	for _, f := range a.faults {
		kind := "ошибка"
		if f.Type == TypeWarning {
			kind = "замечание"
		}
		rule, _ := RuleOf(f.Code)
		b.line(styleWrapped, strconv.Itoa(int(f.Code)), strconv.Itoa(f.Rows), kind, rule.Sentence)
	}
	if len(a.faults) == 0 {
		b.line(styleText, "Ошибок и замечаний нет.")
	}
	b.line(styleText)
	b.line(styleText, "Подпись", "____________________", "", "Дата ____________________")
	return b.err
}
