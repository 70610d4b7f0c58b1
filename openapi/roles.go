package openapi

import "ekc/journal"

// access says who may call an operation. Nothing that is not in the table can be called: an operation without an entry does not
// register.
type access struct {
	roles []journal.Role
	// anyone: every authenticated account, whatever its roles.
	anyone bool
}

func roles(r ...journal.Role) access { return access{roles: r} }

// Groups of the table below.
var (
	// readers of lists see counts and states; no personal data is in them.
	listReaders = []journal.Role{
		journal.RoleListLoader, journal.RoleListApprover, journal.RoleSourceSystem, journal.RoleSegmentAdmin, journal.RoleSegmentCoordinator,
		journal.RoleSupervisor, journal.RoleAuditor, journal.RoleDutyEngineer, journal.RoleEKCAdmin, journal.RoleEKCHead, journal.RoleShiftLead,
	}
	administrators = []journal.Role{journal.RoleSecurityAdmin, journal.RoleEKCAdmin, journal.RoleSegmentAdmin}
	watchers       = []journal.Role{journal.RoleDutyEngineer, journal.RoleEKCAdmin, journal.RoleShiftLead, journal.RoleEKCHead, journal.RoleSecurityAdmin}
)

// table is who may do what: order 442н section 16 and CONTRACTS 3, in the terms of operations. Whose data it is comes on top:
// an account of an agency sees that agency only (journal.Principal.Sees).
var table = map[string]access{
	"whoami": {anyone: true},

	"listAccounts":   {roles: append([]journal.Role{journal.RoleAuditor}, administrators...)},
	"createAccount":  {roles: administrators},
	"setRoles":       {roles: administrators},
	"blockAccount":   {roles: administrators},
	"unblockAccount": {roles: administrators},
	"listKeys":       {roles: append([]journal.Role{journal.RoleAuditor}, administrators...)},
	"createKey":      {roles: administrators},
	"revokeKey":      {roles: administrators},

	"submitList":   roles(journal.RoleListLoader, journal.RoleSourceSystem),
	"sendOne":      roles(journal.RoleListLoader, journal.RoleSourceSystem),
	"replaceFile":  roles(journal.RoleListLoader, journal.RoleSourceSystem),
	"checkList":    roles(journal.RoleListLoader, journal.RoleSourceSystem),
	"estimateList": {roles: listReaders},
	"correctList":  roles(journal.RoleListLoader, journal.RoleSourceSystem),
	"listLists":    {roles: listReaders},
	"getList":      {roles: listReaders},
	"getProtocol":  roles(journal.RoleListLoader, journal.RoleListApprover, journal.RoleSourceSystem, journal.RoleSegmentAdmin, journal.RoleAuditor),
	"previewRow":   roles(journal.RoleListLoader, journal.RoleListApprover),
	"testSend":     roles(journal.RoleListLoader),
	"getResults":   roles(journal.RoleListLoader, journal.RoleListApprover, journal.RoleSourceSystem),
	// whole files of people: for those whose people they are
	"getProtocolFile":    roles(journal.RoleListLoader, journal.RoleListApprover, journal.RoleSourceSystem),
	"getResultsFile":     roles(journal.RoleListLoader, journal.RoleListApprover, journal.RoleSourceSystem),
	"getNotInformedFile": roles(journal.RoleListLoader, journal.RoleListApprover, journal.RoleSourceSystem),
	"followList":         {roles: listReaders},
	"approveList":        roles(journal.RoleListApprover),
	"refuseList":         roles(journal.RoleListApprover),
	"pauseList":          roles(journal.RoleListLoader, journal.RoleListApprover, journal.RoleSourceSystem),
	"resumeList":         roles(journal.RoleListApprover), // to let a list go is never the loader's
	"cancelList":         roles(journal.RoleListLoader, journal.RoleListApprover, journal.RoleSourceSystem),

	"listNotifications": {roles: listReaders},
	"getNotification":   {roles: listReaders},
	// who may show a person's data in full asks the history; an agency's box shows masked ones
	"searchNotifications": roles(journal.RoleListLoader, journal.RoleListApprover, journal.RoleSupervisor, journal.RoleOperatorL2),

	"cancelNotification": roles(journal.RoleListLoader, journal.RoleListApprover, journal.RoleSourceSystem),
	"settleNotification": roles(journal.RoleListApprover, journal.RoleDutyEngineer, journal.RoleEKCAdmin),

	"getHistory":    roles(journal.RoleAuditor, journal.RoleSecurityAdmin, journal.RoleEKCAdmin, journal.RoleDutyEngineer, journal.RoleListLoader, journal.RoleListApprover, journal.RoleSegmentAdmin, journal.RoleSupervisor),
	"searchHistory": roles(journal.RoleAuditor, journal.RoleListLoader, journal.RoleListApprover, journal.RoleSupervisor, journal.RoleOperatorL2),

	// a phone is needed to reach somebody: those who talk with citizens, and the systems of agencies, may write one
	"readProfile": roles(journal.RoleOperatorL1, journal.RoleOperatorL2, journal.RoleSupervisor, journal.RoleAuditor),
	"keepContact": roles(journal.RoleOperatorL1, journal.RoleOperatorL2, journal.RoleSupervisor, journal.RoleSourceSystem),

	"listStops":  {roles: append([]journal.Role{journal.RoleAuditor}, watchers...)},
	"createStop": roles(journal.RoleDutyEngineer, journal.RoleEKCAdmin, journal.RoleSecurityAdmin),
	"liftStop":   roles(journal.RoleDutyEngineer, journal.RoleEKCAdmin, journal.RoleSecurityAdmin),
	"listLinks":  {roles: watchers},

	"listSources":  {roles: append([]journal.Role{journal.RoleAuditor}, watchers...)},
	"resumeSource": roles(journal.RoleDutyEngineer, journal.RoleEKCAdmin),

	// where outcomes are posted to is for those who answer for it, not for a system's own key
	"listWebhooks":  {roles: append([]journal.Role{journal.RoleAuditor, journal.RoleDutyEngineer}, administrators...)},
	"createWebhook": {roles: administrators},
	"deleteWebhook": {roles: administrators},
	"replayWebhook": {roles: append([]journal.Role{journal.RoleDutyEngineer}, administrators...)},

	"getCatalog":     {anyone: true},
	"getCatalogItem": {anyone: true},
}

// allows reports whether p holds one of the roles.
func (a access) allows(p journal.Principal) bool {
	if a.anyone {
		return len(p.Roles) > 0
	}
	for _, r := range a.roles {
		if p.Has(r) {
			return true
		}
	}
	return false
}

// seesUnmasked lists who is shown a found person's data in full: the auditor, and the line that may use personal data (442н).
func seesUnmasked(p journal.Principal) bool {
	return p.Has(journal.RoleAuditor) || p.Has(journal.RoleOperatorL2)
}
