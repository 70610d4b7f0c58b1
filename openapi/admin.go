package openapi

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"ekc/journal"
)

// whoami is what an account may know of itself.
type whoami struct {
	Account string         `json:"account"`
	Agency  string         `json:"agency" doc:"Empty: the operator of the system"`
	Region  string         `json:"region"`
	Roles   []journal.Role `json:"roles"`
	Test    bool           `json:"test" doc:"A test key: lists go to the built-in simulators only"`
	Source  string         `json:"source"`
}

// answer is an output with nothing but a body.
type answer[T any] struct{ Body T }

type empty struct{}

type newAccountBody struct {
	Login  string         `json:"login" pattern:"^[a-z][a-z0-9._-]{1,62}[a-z0-9]$" doc:"Never reused, never renamed" example:"ivanova.mp"`
	Kind   string         `json:"kind" enum:"person,system"`
	Title  string         `json:"title,omitempty" maxLength:"200" doc:"Who it is, for people"`
	Agency string         `json:"agency,omitempty" maxLength:"64" doc:"Code of the agency; none: the operator of the system"`
	Region string         `json:"region,omitempty" maxLength:"16"`
	Roles  []journal.Role `json:"roles" minItems:"1" maxItems:"20"`
	Source string         `json:"source,omitempty" maxLength:"64" doc:"Of a system: its entry in the catalogue of sources"`
}

// createdAccount has a key only for the account made with the administrator's first key.
type createdAccount struct {
	Account
	Key    *Key   `json:"key,omitempty"`
	Secret string `json:"secret,omitempty" doc:"The whole key, shown once"`
}

type createdKey struct {
	Key
	Secret string `json:"secret" doc:"The whole key, shown once: ekc_live_… or ekc_test_…"`
}

type LoginPath struct {
	Login string `path:"login" maxLength:"64"`
}

func (s *Server) registerAccounts() {
	register(s, operation{id: "whoami", method: http.MethodGet, path: "/v1/whoami", tag: "accounts", summary: "Who this key speaks for"},
		func(_ context.Context, p journal.Principal, _ *empty) (*answer[whoami], error) {
			return &answer[whoami]{whoami{p.Account, p.Agency, p.Region, p.Roles, p.Test, p.Source}}, nil
		})
	register(s, operation{id: "listAccounts", method: http.MethodGet, path: "/v1/accounts", tag: "accounts", summary: "Accounts, by login"},
		func(ctx context.Context, p journal.Principal, in *Paging) (*answer[*Page[Account]], error) {
			after, err := fromCursor("listAccounts", in.After)
			if err != nil {
				return nil, err
			}
			all, err := s.accounts.Accounts(ctx, p, after, in.Limit+1)
			if err != nil {
				return nil, err
			}
			return &answer[*Page[Account]]{pageOf("listAccounts", all, in.Limit, func(a Account) string { return a.Login })}, nil
		})
	register(s, operation{id: "createAccount", method: http.MethodPost, path: "/v1/accounts", tag: "accounts", summary: "Make an account", status: http.StatusCreated,
		description: "Nobody gives a role that is not theirs to give. With the administrator's first key: one person with role security_admin, whose key is in the answer; after that the first key is refused."},
		s.createAccount)
	register(s, operation{id: "setRoles", method: http.MethodPut, path: "/v1/accounts/{login}/roles", tag: "accounts", summary: "Replace the roles of another account", errors: []int{409}},
		func(ctx context.Context, p journal.Principal, in *struct {
			LoginPath
			Body struct {
				Roles []journal.Role `json:"roles" minItems:"1" maxItems:"20"`
			}
		}) (*answer[Account], error) {
			return answerOf(s.accounts.SetRoles(ctx, p, in.Login, in.Body.Roles))
		})
	register(s, operation{id: "blockAccount", method: http.MethodPost, path: "/v1/accounts/{login}/block", tag: "accounts", summary: "Block another account with all its keys", errors: []int{409}},
		func(ctx context.Context, p journal.Principal, in *LoginPath) (*answer[Account], error) {
			return answerOf(s.accounts.Block(ctx, p, in.Login))
		})
	register(s, operation{id: "unblockAccount", method: http.MethodPost, path: "/v1/accounts/{login}/unblock", tag: "accounts", summary: "Let a blocked account work again", errors: []int{409}},
		func(ctx context.Context, p journal.Principal, in *LoginPath) (*answer[Account], error) {
			return answerOf(s.accounts.Unblock(ctx, p, in.Login))
		})
	register(s, operation{id: "listKeys", method: http.MethodGet, path: "/v1/keys", tag: "accounts", summary: "Keys, oldest first; never their secrets"},
		func(ctx context.Context, p journal.Principal, in *struct {
			Paging
			Login string `query:"login" maxLength:"64" doc:"Of one account"`
		}) (*answer[*Page[Key]], error) {
			after, err := numberFromCursor("listKeys", in.After)
			if err != nil {
				return nil, err
			}
			all, err := s.accounts.Keys(ctx, p, in.Login, after, in.Limit+1)
			if err != nil {
				return nil, err
			}
			return &answer[*Page[Key]]{pageOf("listKeys", all, in.Limit, func(k Key) string { return strconv.FormatInt(k.ID, 10) })}, nil
		})
	register(s, operation{id: "createKey", method: http.MethodPost, path: "/v1/keys", tag: "accounts", summary: "Make a key; the secret is shown once", status: http.StatusCreated},
		func(ctx context.Context, p journal.Principal, in *struct {
			Body struct {
				Login     string    `json:"login" maxLength:"64"`
				Test      bool      `json:"test,omitempty" doc:"Lists of a test key go to the built-in simulators only"`
				ExpiresAt time.Time `json:"expires_at,omitempty" doc:"None: works until it is revoked"`
			}
		}) (*answer[createdKey], error) {
			callOf(ctx).secret = true
			key, secret, err := s.accounts.CreateKey(ctx, p, NewKey{Login: in.Body.Login, Test: in.Body.Test, Expires: in.Body.ExpiresAt})
			if err != nil {
				callOf(ctx).secret = false
				return nil, err
			}
			return &answer[createdKey]{createdKey{key, secret}}, nil
		})
	register(s, operation{id: "revokeKey", method: http.MethodDelete, path: "/v1/keys/{id}", tag: "accounts", summary: "Revoke a key", description: "Effective in every process within 2 s.", status: http.StatusNoContent},
		func(ctx context.Context, p journal.Principal, in *struct {
			ID int64 `path:"id" minimum:"1"`
		}) (*empty, error) {
			return &empty{}, s.accounts.RevokeKey(ctx, p, in.ID)
		})
}

func answerOf[T any](v T, err error) (*answer[T], error) {
	if err != nil {
		return nil, err
	}
	return &answer[T]{v}, nil
}

func (s *Server) createAccount(ctx context.Context, p journal.Principal, in *struct{ Body newAccountBody }) (*answer[createdAccount], error) {
	b := in.Body
	n := NewAccount{Login: b.Login, Kind: b.Kind, Title: b.Title, Agency: b.Agency, Region: b.Region, Roles: b.Roles, Source: b.Source}
	if p.Account != adminKeyAccount {
		acc, err := s.accounts.CreateAccount(ctx, p, n)
		return answerOf(createdAccount{Account: acc}, err)
	}
	acc, key, secret, err := s.accounts.CreateFirst(ctx, p, n)
	if err != nil {
		return nil, err
	}
	callOf(ctx).secret = true
	return &answer[createdAccount]{createdAccount{acc, &key, secret}}, nil
}
