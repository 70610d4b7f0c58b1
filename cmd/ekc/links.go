package main

import (
	"fmt"
	"log/slog"
	"slices"

	"ekc/citizen"
	"ekc/dispatch"
	"ekc/dispatch/sms"
	"ekc/smpp"
)

const channelSMS = "sms"

// pools are the configured SMSCs by pool, in the order of their names.
func pools(c *Config, messages func([]smpp.Incoming, func(error)), log *slog.Logger) ([]dispatch.Pool, error) {
	links := make(map[string][]sms.Link)
	unrecorded := make(map[string]int)
	for _, s := range c.SMSC {
		link, err := smsLink(s)
		if err != nil {
			return nil, fmt.Errorf("smsc %s: %w", s.Name, err)
		}
		if link.Unrecorded = s.Unrecorded; link.Unrecorded == 0 {
			link.Unrecorded = 2 * s.Window * s.Binds
		}
		links[s.Pool] = append(links[s.Pool], link)
		unrecorded[s.Pool] += link.Unrecorded
	}
	var out []dispatch.Pool
	for _, name := range sortedKeys(links) {
		out = append(out, pool(name, links[name], unrecorded[name], messages, log))
	}
	return out, nil
}

// poolNames are all pools of the configuration and the simulator's, with the names of their links.
func poolNames(c *Config) []dispatch.Pool {
	links := map[string][]string{simulatorPool: {simulatorPool}}
	for _, s := range c.SMSC {
		links[s.Pool] = append(links[s.Pool], s.Name)
	}
	var out []dispatch.Pool
	for _, name := range sortedKeys(links) {
		out = append(out, dispatch.Pool{Name: name, Channel: channelSMS, Links: links[name]})
	}
	return out
}

func pool(name string, links []sms.Link, unrecorded int, messages func([]smpp.Incoming, func(error)), log *slog.Logger) dispatch.Pool {
	names := make([]string, len(links))
	for i, l := range links {
		names[i] = l.SMPP.Name
	}
	return dispatch.Pool{Name: name, Channel: channelSMS, Links: names, Unrecorded: unrecorded,
		Open: sms.Open(sms.Config{Links: links, Messages: messages, Log: log})}
}

func smsLink(s SMSCConfig) (sms.Link, error) {
	cfg, err := linkConfig(s)
	if err != nil {
		return sms.Link{}, err
	}
	if cfg.TLS, err = clientTLSConfig(s.TLS); err != nil {
		return sms.Link{}, err
	}
	link := sms.Link{SMPP: cfg, DestTON: byte(s.DestTON), DestNPI: byte(s.DestNPI)}
	for _, sender := range s.Senders {
		link.Senders = append(link.Senders, sms.Sender{Name: sender.Name, Agency: sender.Agency, TON: byte(sender.TON), NPI: byte(sender.NPI), TwoWay: sender.TwoWay})
	}
	return link, nil
}

// simulatorLink leads to the built-in simulator.
func simulatorLink(addr string) sms.Link {
	return sms.Link{
		SMPP:    smpp.Config{Name: simulatorPool, Addr: addr, SystemID: "ekc", Window: 100},
		Senders: []sms.Sender{{Name: "EKC-TEST", TON: 5}}, DestTON: 1, DestNPI: 1,
	}
}

// routes sends what belongs to a test key, or is not on a pilot's list, to the simulator, an agency's messages to the pool that names
// it, and all others to the pool that names none.
func routes(c *Config) dispatch.Routes {
	byAgency, common := make(map[string]string), ""
	for _, s := range c.SMSC {
		if len(s.Routes) == 0 {
			common = s.Pool
		}
		for _, agency := range s.Routes {
			byAgency[agency] = s.Pool
		}
	}
	permitted := permittedPhones(c)
	return func(channel, agency string, to citizen.Phone, test bool) (string, bool) {
		if channel != channelSMS {
			return "", false
		}
		if test || permitted != nil && !to.IsZero() && !permitted(to) {
			return simulatorPool, true
		}
		if pool, ok := byAgency[agency]; ok {
			return pool, true
		}
		return common, common != ""
	}
}

// permittedPhones is nil when there is no pilot.
func permittedPhones(c *Config) func(citizen.Phone) bool {
	if len(c.Pilot.AllowList) == 0 {
		return nil
	}
	return func(phone citizen.Phone) bool {
		return slices.Contains(c.Pilot.AllowList, PhoneSetting{phone})
	}
}
