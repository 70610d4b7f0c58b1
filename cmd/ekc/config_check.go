package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"gopkg.in/yaml.v3"

	"ekc/citizen"
	"ekc/smpp"
)

var linkName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)

// simulatorPool is the pool of the built-in simulator; no configured link may take its name.
const simulatorPool = "simulator"

// check adds what is wrong with settings that could be read. What a command needs beyond that (serve its database) it asks for itself.
func (r *configReader) check(c *Config) {
	r.oneOf(reflect.ValueOf(c).Elem(), "")
	r.address("http.addr", c.HTTP.Addr)
	r.needTLS("http", "addr", c.HTTP.Addr, c.HTTP.TLS != nil, c.HTTP.InsecureBecause)
	if t := c.HTTP.TLS; t != nil && (t.Cert == "" || t.Key == "") {
		r.fault("http.tls", "cert and key are needed both")
	}
	if c.HTTP.UploadLimitMB < 1 || c.HTTP.UploadLimitMB > 2048 {
		r.fault("http.upload_limit_mb", "expected 1 to 2048")
	}
	r.checkDatabase(c.Database)
	r.checkKafka(c.Kafka)
	r.checkLinks(c)
	r.webAddress("asv.url", c.ASV.URL, "asv", c.ASV.InsecureBecause)
	r.webAddress("auth.jwks", c.Auth.JWKS, "", "")
	r.webAddress("alerts.webhook", c.Alerts.Webhook, "", "")
	if c.SIP.Listen != "" {
		r.address("sip.listen", c.SIP.Listen)
	}
	for i, trunk := range c.SIP.Trunks {
		host, _, _ := strings.Cut(trunk.URI[strings.LastIndexByte(trunk.URI, '@')+1:], ";")
		host = strings.TrimPrefix(strings.TrimPrefix(host, "sips:"), "sip:")
		r.needTLS("sip", fmt.Sprintf("trunks[%d].uri", i), host, strings.HasPrefix(trunk.URI, "sips:"), c.SIP.InsecureBecause)
	}
	if key := c.Keyset.Reveal(); key != "" {
		if _, err := citizen.LoadKeyset(key); err != nil {
			r.fault("keyset", "%v", err)
		}
	}
	if n := len(c.AdminKey); n > 0 && n < 24 {
		r.fault("admin_key", "expected at least 24 characters")
	}
	if c.DrainTimeout.Std() < time.Second {
		r.fault("drain_timeout", "expected 1s or more")
	}
	if c.StateDir == "" {
		r.fault("state_dir", "expected a folder that outlives the process")
	}
}

func (r *configReader) checkDatabase(d DatabaseConfig) {
	if d.URL == "" {
		return
	}
	parsed, err := pgconn.ParseConfig(d.URL.Reveal())
	if err != nil {
		r.fault("database.url", "expected postgres://user:password@host:5432/name?sslmode=verify-full, or the keyword form of libpq")
		return
	}
	outside := func(host string, encrypted bool) {
		if !strings.HasPrefix(host, "/") {
			r.needTLS("database", "url", net.JoinHostPort(host, "0"), encrypted, d.InsecureBecause)
		}
	}
	outside(parsed.Host, parsed.TLSConfig != nil && !slices.ContainsFunc(parsed.Fallbacks, func(f *pgconn.FallbackConfig) bool {
		return f.Host == parsed.Host && f.TLSConfig == nil // sslmode=prefer: TLS only if the server likes
	}))
	for _, fallback := range parsed.Fallbacks {
		if fallback.Host != parsed.Host {
			outside(fallback.Host, fallback.TLSConfig != nil)
		}
	}
}

func (r *configReader) checkLinks(c *Config) {
	names, words := make(map[string]bool), make(map[string]bool)
	agencies := make(map[string]string) // agency → pool
	everybody := ""
	for i := range c.SMSC {
		s := &c.SMSC[i]
		place := fmt.Sprintf("smsc[%d]", i)
		if !linkName.MatchString(s.Name) {
			r.fault(place+".name", "expected 1 to 32 small letters, digits, - and _")
		} else {
			place = fmt.Sprintf("smsc[%s]", s.Name)
		}
		if names[s.Name] || words[envWord(s.Name)] {
			r.fault(place+".name", "another entry has this name, or one that differs only by - and _")
		}
		names[s.Name], words[envWord(s.Name)] = true, true
		if s.Pool == "" {
			s.Pool = s.Name
		}
		if s.Pool == simulatorPool || s.Name == simulatorPool {
			r.fault(place, "the name %s is kept for the built-in simulator", simulatorPool)
		}
		r.checkSMSC(place, s)
		if len(s.Routes) == 0 && everybody != s.Pool && everybody != "" {
			r.fault(place+".routes", "pools %s and %s both carry all agencies: name the agencies of one, or make it one pool", everybody, s.Pool)
		}
		if len(s.Routes) == 0 {
			everybody = s.Pool
		}
		for _, agency := range s.Routes {
			if pool, taken := agencies[agency]; taken && pool != s.Pool {
				r.fault(place+".routes", "pool %s carries agency %s already", pool, agency)
			}
			agencies[agency] = s.Pool
		}
	}
	names = map[string]bool{}
	for i, trunk := range c.SIP.Trunks {
		if !linkName.MatchString(trunk.Name) || names[trunk.Name] {
			r.fault(fmt.Sprintf("sip.trunks[%d].name", i), "expected a name of its own: 1 to 32 small letters, digits, - and _")
		}
		names[trunk.Name] = true
	}
}

func (r *configReader) checkSMSC(place string, s *SMSCConfig) {
	r.address(place+".addr", s.Addr)
	r.needTLS(place, "addr", s.Addr, s.TLS != nil, s.InsecureBecause)
	r.clientTLS(place+".tls", s.TLS)
	link, err := linkConfig(*s)
	if err != nil {
		r.fault(place, "%v", err)
		return
	}
	link.Name, link.Addr = "-", "-" // both are judged above
	if err := link.Validate(); err != nil {
		for sentence := range strings.SplitSeq(strings.TrimPrefix(err.Error(), `smsc "-": `), "\n") {
			r.fault(place, "%s", sentence)
		}
	}
	r.octets(place, map[string]int{"dest_ton": s.DestTON, "dest_npi": s.DestNPI, "ucs2_coding": s.UCS2Coding, "registered_delivery": s.RegisteredDelivery})
	if s.Unrecorded < 0 {
		r.fault(place+".unrecorded", "expected 0 or more")
	}
	if len(s.Senders) == 0 {
		r.fault(place+".senders", "expected at least one: without a sender nothing can be sent")
	}
	for i, sender := range s.Senders {
		senderPlace := fmt.Sprintf("%s.senders[%d]", place, i)
		if sender.Name == "" || len(sender.Name) > 20 {
			r.fault(senderPlace+".name", "expected 1 to 20 characters (SMPP 3.4 §5.2.8)")
		}
		r.octets(senderPlace, map[string]int{"ton": sender.TON, "npi": sender.NPI})
	}
	for i, m := range s.Maintenance {
		if m.To <= m.From {
			r.fault(fmt.Sprintf("%s.maintenance[%d]", place, i), "to must be later than from; hours over midnight are two entries")
		}
	}
}

func (r *configReader) octets(place string, values map[string]int) {
	for _, key := range sortedKeys(values) {
		if values[key] < 0 || values[key] > 255 {
			r.fault(place+"."+key, "expected 0 to 255")
		}
	}
}

// oneOf checks every key that has a closed set of values.
func (r *configReader) oneOf(v reflect.Value, path string) {
	for i := range v.NumField() {
		field, tag := v.Field(i), v.Type().Field(i).Tag
		place := join(path, tag.Get("yaml"))
		if allowed := tag.Get("oneof"); allowed != "" && field.String() != "" && !slices.Contains(strings.Split(allowed, ","), field.String()) {
			r.fault(place, "expected one of %s", strings.ReplaceAll(allowed, ",", ", "))
		}
		switch {
		case isGroup(field.Type()):
			r.oneOf(field, place)
		case field.Kind() == reflect.Slice && isGroup(field.Type().Elem()):
			for j := range field.Len() {
				r.oneOf(field.Index(j), fmt.Sprintf("%s[%d]", place, j))
			}
		}
	}
}

func (r *configReader) address(place, addr string) {
	_, port, err := net.SplitHostPort(addr)
	if n, numErr := strconv.Atoi(port); err != nil || numErr != nil || n < 0 || n > 65535 {
		r.fault(place, "expected host:port")
	}
}

// needTLS refuses a door that is open to the network in the clear with nobody having said why.
func (r *configReader) needTLS(door, key, addr string, encrypted bool, because string) {
	if !encrypted && !isLoopback(addr) && strings.TrimSpace(because) == "" {
		r.fault(door+"."+key, "this is outside loopback and has no TLS: set TLS up, or say why it need not be in %s.insecure_because", door)
	}
}

// isLoopback is false for a name other than localhost: what it resolves to can change.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (r *configReader) webAddress(place, address, door, because string) {
	if address == "" {
		return
	}
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		r.fault(place, "expected https://host/path")
	case u.Scheme == "http" && !isLoopback(u.Host) && door == "":
		r.fault(place, "this is outside loopback and not https")
	case u.Scheme == "http":
		r.needTLS(door, place[strings.LastIndexByte(place, '.')+1:], u.Host, false, because)
	}
}

func (r *configReader) clientTLS(place string, t *ClientTLS) {
	if t == nil {
		return
	}
	if (t.Cert == "") != (t.Key == "") {
		r.fault(place, "cert and key are needed both, or none")
	}
	for _, file := range []string{t.CA, t.Cert, t.Key} {
		if file == "" {
			continue
		}
		if _, err := os.Stat(file); err != nil {
			r.fault(place, "%v", err)
		}
	}
}

// linkConfig is an entry as package smpp wants it, without its TLS.
func linkConfig(s SMSCConfig) (smpp.Config, error) {
	zone, err := time.LoadLocation(s.ReceiptTimeZone)
	if err != nil {
		return smpp.Config{}, fmt.Errorf("receipt_time_zone: expected a zone such as Europe/Moscow")
	}
	errorMap, err := smpp.ParseErrorMap(s.ErrorMap)
	if err != nil {
		return smpp.Config{}, fmt.Errorf("error_map: %w", err)
	}
	return smpp.Config{
		Name: s.Name, Addr: s.Addr, SystemID: s.SystemID, Password: s.Password.Reveal(), SystemType: s.SystemType,
		Bind: smpp.BindMode(s.Bind), Binds: s.Binds, Window: s.Window, Rate: s.Rate,
		EnquireLink: s.EnquireLink.Std(), ResponseTimeout: s.ResponseTimeout.Std(),
		ServiceType: s.ServiceType, UCS2Coding: byte(s.UCS2Coding), LongText: smpp.LongText(s.LongText),
		RegisteredDelivery: byte(s.RegisteredDelivery), MessageIDBase: smpp.IDBase(s.MessageIDBase),
		ReceiptTimeZone: zone, Validity: smpp.Validity(s.Validity), ErrorMap: errorMap,
	}, nil
}

// printed is the effective configuration as YAML, secrets masked.
func (c *Config) printed() ([]byte, error) {
	out, err := yaml.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("print configuration: %w", err)
	}
	return out, nil
}

// digest tells two configurations apart. It is computed from the masked form: it is shown to anybody, and a short password could
// be guessed from a digest of it.
func (c *Config) digest() (string, error) {
	out, err := c.printed()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(out)
	return hex.EncodeToString(sum[:8]), nil
}
