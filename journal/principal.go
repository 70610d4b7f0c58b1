package journal

import "slices"

// Role is what an account is allowed to be. Codes follow order 442н of the Ministry of Labour, section 16, and our own.
type Role string

const (
	RoleEKCHead            Role = "ekc_head"            // руководитель ЕКЦ, 16.1.1
	RoleShiftLead          Role = "shift_lead"          // начальник смены, 16.1.2
	RoleSecurityAdmin      Role = "security_admin"      // администратор безопасности, 16.1.3
	RoleEKCAdmin           Role = "ekc_admin"           // администратор ЕКЦ, 16.1.4
	RoleKBAdmin            Role = "kb_admin"            // администратор экспертной системы, 16.1.5
	RoleSegmentCoordinator Role = "segment_coordinator" // координатор ведомственного сегмента, 16.2.1
	RoleSupervisor         Role = "supervisor"          // супервизор, 16.2.2
	RoleSegmentAdmin       Role = "segment_admin"       // администратор ведомственного сегмента, 16.2.5
	RoleKBEditor           Role = "kb_editor"           // контент-менеджер экспертной системы
	RoleOperatorL1         Role = "operator_l1"         // оператор первой линии, 16.2.8
	RoleOperatorL2         Role = "operator_l2"         // оператор второй линии, 16.2.9
	RoleAuditor            Role = "auditor"
	RoleListLoader         Role = "list_loader"
	RoleListApprover       Role = "list_approver"
	RoleSourceSystem       Role = "source_system"
	RoleDutyEngineer       Role = "duty_engineer"
	RoleASVSystem          Role = "asv_system"

	// RoleSystem is the hub itself; no account can be given it.
	RoleSystem Role = "system"
)

// Roles lists every role an account can be given.
func Roles() []Role {
	return []Role{
		RoleEKCHead, RoleShiftLead, RoleSecurityAdmin, RoleEKCAdmin, RoleKBAdmin, RoleSegmentCoordinator, RoleSupervisor,
		RoleSegmentAdmin, RoleKBEditor, RoleOperatorL1, RoleOperatorL2, RoleAuditor, RoleListLoader, RoleListApprover,
		RoleSourceSystem, RoleDutyEngineer, RoleASVSystem,
	}
}

// systemWide roles are those of the system's operator: held by an account without an agency they reach every agency.
var systemWide = []Role{
	RoleSystem, RoleEKCHead, RoleShiftLead, RoleSecurityAdmin, RoleEKCAdmin, RoleKBAdmin, RoleAuditor, RoleDutyEngineer,
}

// Purpose says why personal data is asked for: a code from the catalogue and the document or request it is asked under.
// Reference is a number, never a name or a phone.
type Purpose struct {
	Code, Reference string
}

// String is the form kept in Entry.Purpose.
func (p Purpose) String() string {
	if p.Reference == "" {
		return p.Code
	}
	return p.Code + ": " + p.Reference
}

// Principal is on whose behalf something is done or asked; every call from outside carries one down to the tables.
// The zero value may do and see nothing.
type Principal struct {
	Account string // login, never reused: the journal's actor
	Agency  string // "" = the operator of the system
	Region  string // narrows to one region when set
	Roles   []Role
	Purpose Purpose
	Test    bool   // of a test key: simulators only
	Source  string // of a source_system: its catalogue entry
}

// System is the principal of what the hub does by itself; name says which part of it, such as "dispatch".
func System(name string) Principal {
	return Principal{Account: "system/" + name, Roles: []Role{RoleSystem}}
}

// Recovery is on whose behalf `ekc recover` works.
func Recovery() Principal { return System("recover") }

// Has reports whether p holds the role.
func (p Principal) Has(role Role) bool { return slices.Contains(p.Roles, role) }

// Sees reports whether what belongs to the agency may be shown to p at all. "" is what belongs to no agency.
func (p Principal) Sees(agency string) bool {
	if len(p.Roles) == 0 {
		return false
	}
	if p.Agency != "" {
		return p.Agency == agency
	}
	return slices.ContainsFunc(p.Roles, func(r Role) bool { return slices.Contains(systemWide, r) })
}
