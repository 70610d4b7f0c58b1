package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"ekc/catalog"
	"ekc/fixtures"
	"ekc/journal"
	"ekc/openapi"
	"ekc/postgres"
)

// putDemoRules writes the demo's rules as new versions, each with its journal entry.
func putDemoRules(ctx context.Context, db *pgxpool.Pool, now time.Time) error {
	writer := journal.NewWriter()
	return postgres.InTx(ctx, db, func(tx pgx.Tx) error {
		for _, item := range demoRules(now) {
			if err := catalog.Put(ctx, tx, demoPrincipal, item); err != nil {
				return err
			}
			_, err := writer.Append(ctx, tx, []journal.Entry{{Kind: journal.CatalogChanged, At: now, Actor: demoPrincipal.Account,
				Data: journal.Fields("kind", string(item.Kind()), "code", item.Header().Code, "version", fmt.Sprint(item.Header().Version))}})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// people are the demo's accounts: the keys they hold.
type people struct {
	loader, approver map[string]*apiClient // by agency
	auditor, duty    *apiClient
	operator         *apiClient // talks with citizens
	keys             []demoKey  // to be shown
}

type demoKey struct{ login, what, secret string }

// engage makes the accounts through the API: the administrator's first key makes a security administrator, who makes the others.
func (d *demo) engage(ctx context.Context, manifest *fixtures.Manifest) (*people, error) {
	root := d.client(d.adminKey)
	var first struct {
		Secret string `json:"secret"`
	}
	account := func(login, title, agency string, role journal.Role) map[string]any {
		return map[string]any{"login": login, "kind": openapi.Person, "title": title, "agency": agency, "roles": []journal.Role{role}}
	}
	err := root.call(ctx, http.MethodPost, "/v1/accounts", account("demo.security", "Администратор безопасности", "", journal.RoleSecurityAdmin), &first)
	if err != nil {
		return nil, fmt.Errorf("make the first account: %w", err)
	}
	security := d.client(first.Secret)
	p := &people{loader: map[string]*apiClient{}, approver: map[string]*apiClient{}}
	hire := func(login, title, agency string, role journal.Role) (*apiClient, error) {
		var key struct {
			Secret string `json:"secret"`
		}
		err := security.call(ctx, http.MethodPost, "/v1/accounts", account(login, title, agency, role), nil)
		if err == nil {
			err = security.call(ctx, http.MethodPost, "/v1/keys", map[string]any{"login": login}, &key)
		}
		if err != nil {
			return nil, fmt.Errorf("make account %s: %w", login, err)
		}
		p.keys = append(p.keys, demoKey{login, title, key.Secret})
		return d.client(key.Secret), nil
	}
	for i, agency := range agenciesOf(manifest) {
		if p.loader[agency], err = hire(fmt.Sprintf("demo.loader.%d", i+1), "загружает списки, "+agency, agency, journal.RoleListLoader); err != nil {
			return nil, err
		}
		if p.approver[agency], err = hire(fmt.Sprintf("demo.approver.%d", i+1), "утверждает списки, "+agency, agency, journal.RoleListApprover); err != nil {
			return nil, err
		}
	}
	if p.auditor, err = hire("demo.auditor", "проверяющий", "", journal.RoleAuditor); err != nil {
		return nil, err
	}
	if p.operator, err = hire("demo.operator", "оператор первой линии", agenciesOf(manifest)[0], journal.RoleOperatorL1); err != nil {
		return nil, err
	}
	p.duty, err = hire("demo.duty", "дежурный инженер", "", journal.RoleDutyEngineer)
	return p, err
}

func agenciesOf(m *fixtures.Manifest) []string {
	seen := make(map[string]bool)
	for _, s := range m.Samples {
		seen[s.Agency] = true
	}
	return sortedKeys(seen)
}

func (d *demo) client(key string) *apiClient {
	return &apiClient{base: d.url, key: key, http: &http.Client{Timeout: time.Minute}}
}
