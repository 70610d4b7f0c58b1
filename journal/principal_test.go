package journal

import "testing"

func TestWhoSeesWhichAgency(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		who    Principal
		agency string
		want   bool
	}{
		{"nobody", Principal{}, "A", false},
		{"nobody asks for what belongs to no agency", Principal{}, "", false},
		{"an agency without roles", Principal{Agency: "A"}, "A", false},
		{"their own", Principal{Agency: "A", Roles: []Role{RoleListLoader}}, "A", true},
		{"another's", Principal{Agency: "A", Roles: []Role{RoleListLoader}}, "B", false},
		{"the operator's from an agency", Principal{Agency: "A", Roles: []Role{RoleAuditor}}, "", false},
		{"an agency's auditor, another's", Principal{Agency: "A", Roles: []Role{RoleAuditor}}, "B", false},
		{"the operator's auditor", Principal{Roles: []Role{RoleAuditor}}, "B", true},
		{"a loader who belongs to nobody", Principal{Roles: []Role{RoleListLoader}}, "B", false},
		{"the hub", System("dispatch"), "B", true},
	} {
		if got := c.who.Sees(c.agency); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
