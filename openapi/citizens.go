package openapi

import (
	"context"
	"net/http"
	"time"

	"ekc/citizen"
	"ekc/journal"
)

// ProfileContact is a phone by which a person can be reached.
type ProfileContact struct {
	Phone  string    `json:"phone" doc:"Masked, unless the role may see it"`
	ToldBy string    `json:"told_by" enum:"citizen,agency"`
	Agency string    `json:"agency" doc:"Whose account entered it; empty: the operator of the system"`
	At     time.Time `json:"at"`
}

// ProfileAnswer is what is known of a person beside the lists that spoke of him.
type ProfileAnswer struct {
	Contacts []ProfileContact `json:"contacts" doc:"The most trusted first, then the newest; the first is used where a list brings no phone"`
	Unmasked bool             `json:"unmasked"`
}

var trusts = map[string]citizen.Trust{"citizen": citizen.TrustCitizen, "agency": citizen.TrustAgency}

func (s *Server) registerCitizens() {
	register(s, operation{id: "readProfile", method: http.MethodPost, path: "/v1/citizens/profile", tag: "citizens", summary: "How a person can be reached", read: true,
		description: "By SNILS; the purpose is demanded and every look is in the history."}, s.readProfile)
	register(s, operation{id: "keepContact", method: http.MethodPut, path: "/v1/citizens/profile", tag: "citizens", summary: "Keep a phone of a person", status: http.StatusNoContent,
		description: "Used for messages of ЕГИССО that name a person by SNILS alone. The same phone again replaces who said it and when."}, s.keepContact)
}

func (s *Server) readProfile(ctx context.Context, p journal.Principal, in *struct {
	Body struct {
		SNILS   string       `json:"snils" maxLength:"20"`
		Purpose *purposeBody `json:"purpose,omitempty" doc:"Demanded"`
	}
}) (*answer[ProfileAnswer], error) {
	if err := in.Body.Purpose.give(&p); err != nil {
		return nil, err
	}
	contacts, err := s.doors.Lists.Profile(ctx, p, in.Body.SNILS)
	if err != nil {
		return nil, err
	}
	out := ProfileAnswer{Contacts: []ProfileContact{}, Unmasked: seesUnmasked(p)}
	for _, c := range contacts {
		shown := ProfileContact{Phone: c.Phone.String(), Agency: c.Source, At: c.At.UTC()}
		if out.Unmasked {
			shown.Phone = c.Phone.E164()
		}
		for name, trust := range trusts {
			if trust == c.Trust {
				shown.ToldBy = name
			}
		}
		out.Contacts = append(out.Contacts, shown)
	}
	return &answer[ProfileAnswer]{out}, nil
}

func (s *Server) keepContact(ctx context.Context, p journal.Principal, in *struct {
	Body struct {
		SNILS   string       `json:"snils" maxLength:"20"`
		Phone   string       `json:"phone" maxLength:"32"`
		ToldBy  string       `json:"told_by" enum:"citizen,agency" doc:"A system of an agency says agency"`
		Purpose *purposeBody `json:"purpose,omitempty" doc:"Demanded"`
	}
}) (*empty, error) {
	if err := in.Body.Purpose.give(&p); err != nil {
		return nil, err
	}
	if in.Body.ToldBy == "citizen" && p.Has(journal.RoleSourceSystem) {
		return nil, invalid("body.told_by", "a system has it from its agency's files")
	}
	return &empty{}, s.doors.Lists.KeepContact(ctx, p, in.Body.SNILS, in.Body.Phone, trusts[in.Body.ToldBy])
}
