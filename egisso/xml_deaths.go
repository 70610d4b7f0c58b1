package egisso

import (
	"strings"

	"ekc/citizen"
)

// Death is what 20.02.S says of one citizen, as far as it matters here: nothing more is sent to him. The schema of the message was not at
// hand: that a record has a СНИЛС and a date of death, and what the date may be called, is inferred. A record is the smallest
// element with both.
type Death struct {
	SNILS citizen.SNILS
	Date  citizen.Date
}

// deathDates are the names that the date is known by.
var deathDates = []string{"deathDate", "dateOfDeath", "dateDeath", "deathDt"}

// maxDeaths of one message.
const maxDeaths = 10_000

func (d *decoder) deaths(root *element) []Death {
	var out []Death
	snils, _ := d.deathsIn(root, &out) // a date without a number is of somebody who has none
	if len(snils) > 0 && !d.any() || len(out) == 0 && !d.any() {
		d.add(CodeMissing, 0, "deathDate", "В сообщении 20.02.S у каждой записи нужны SNILS и дата смерти.")
	}
	return out
}

// deathsIn finds the records in an element, and returns what in it belongs to none yet.
func (d *decoder) deathsIn(e *element, out *[]Death) (snils, dates []string) {
	take := func(name, text string) {
		if text = strings.TrimSpace(text); text == "" {
			return
		}
		if strings.EqualFold(name, "SNILS") {
			snils = append(snils, text)
		}
		for _, known := range deathDates {
			if strings.EqualFold(name, known) {
				dates = append(dates, text)
			}
		}
	}
	take(e.name, e.text)
	for _, a := range e.attrs {
		take(a.Name.Local, a.Value)
	}
	for i := range e.children {
		s, t := d.deathsIn(&e.children[i], out)
		snils, dates = append(snils, s...), append(dates, t...)
	}
	switch {
	case len(snils) == 0 || len(dates) == 0:
		return snils, dates
	case len(snils) > 1 || len(dates) > 1:
		d.add(CodeValue, 0, "SNILS", "Не видно, к кому относится дата смерти: в записи несколько SNILS или дат.")
		return nil, nil
	case len(*out) == maxDeaths:
		d.add(CodeTooMany, 0, "SNILS", "В сообщении больше %d записей.", maxDeaths)
		return nil, nil
	}
	d.row = len(*out) + 1
	n, padded, err := citizen.ParseSNILS(snils[0])
	if err != nil || padded {
		d.add(CodeValue, d.row, "SNILS", "Нужны 11 цифр СНИЛС с верным контрольным числом.")
	}
	*out = append(*out, Death{n, d.xmlDate(dates[0], "deathDate", true)})
	d.row = 0
	return nil, nil
}
