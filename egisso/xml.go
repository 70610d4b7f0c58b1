package egisso

import (
	"time"

	"ekc/citizen"
)

// Death is one record of 20.02.S.
type Death struct {
	SNILS citizen.SNILS
	Date  citizen.Date
}

func parseXML(attributes map[string]string, value []byte, now time.Time) (*Message, error) {
	return nil, problem(CodeXMLType, "ekc_type", "Сообщение XML этого вида не принимается.")
}
