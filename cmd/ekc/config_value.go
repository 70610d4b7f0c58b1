package main

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"ekc/citizen"
)

const masked = "***"

// Secret is a setting that is never shown: everything that prints, logs or encodes it gets ***.
type Secret string

// Reveal is the secret itself.
func (s Secret) Reveal() string { return string(s) }

// String is the mask, empty for an empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return masked
}

// Format writes the mask whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// MarshalText encodes the mask, for JSON and YAML too.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes the text as it is.
func (s *Secret) UnmarshalText(text []byte) error { *s = Secret(text); return nil }

// DatabaseURL is a connection string. What prints it shows neither password nor anything in a form other than an URL.
type DatabaseURL string

// Reveal is the whole string.
func (u DatabaseURL) Reveal() string { return string(u) }

// String is the URL with *** for the password and for every parameter that could hold one.
func (u DatabaseURL) String() string {
	if u == "" {
		return ""
	}
	parsed, err := url.Parse(string(u))
	if err != nil || parsed.Scheme == "" {
		return masked
	}
	if _, has := parsed.User.Password(); has {
		parsed.User = url.UserPassword(parsed.User.Username(), masked)
	}
	query := parsed.Query()
	for key := range query {
		if !slices.Contains([]string{"sslmode", "host", "port", "dbname", "application_name", "pool_max_conns", "sslrootcert", "target_session_attrs"}, key) {
			query.Set(key, masked)
		}
	}
	parsed.RawQuery = query.Encode()
	return strings.ReplaceAll(parsed.String(), url.QueryEscape(masked), masked)
}

// Format writes what String does whatever the verb.
func (u DatabaseURL) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(u.String())) }

// MarshalText encodes what String does.
func (u DatabaseURL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText takes the text as it is.
func (u *DatabaseURL) UnmarshalText(text []byte) error { *u = DatabaseURL(text); return nil }

// Duration is written 30s, 5m, 72h or 30d.
type Duration time.Duration

// Std is the duration as package time has it.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String is the written form.
func (d Duration) String() string {
	const day = 24 * time.Hour
	if std := d.Std(); std >= 3*day && std%day == 0 {
		return fmt.Sprintf("%dd", std/day)
	}
	text := d.Std().String()
	for _, tail := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, tail) {
			text = text[:len(text)-2]
		}
	}
	return text
}

// MarshalText writes what UnmarshalText reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads 30d and whatever time.ParseDuration reads; below zero is refused.
func (d *Duration) UnmarshalText(text []byte) error {
	s, factor := string(text), 1
	if days, ok := strings.CutSuffix(s, "d"); ok {
		s, factor = days+"h", 24
	}
	std, err := time.ParseDuration(s)
	if err != nil || std < 0 {
		return errors.New("expected a duration such as 30s, 5m, 72h or 30d")
	}
	*d = Duration(std * time.Duration(factor))
	return nil
}

// PhoneSetting is a phone in the configuration; it prints masked.
type PhoneSetting struct{ citizen.Phone }

// UnmarshalText reads a number as people write it.
func (p *PhoneSetting) UnmarshalText(text []byte) error {
	phone, err := citizen.ParsePhone(string(text))
	if err != nil {
		return errors.New("expected a phone such as +79001234567")
	}
	p.Phone = phone
	return nil
}
