package main

import (
	"testing"

	"ekc/citizen"
)

func TestRoutes(t *testing.T) {
	t.Parallel()
	phone, err := citizen.ParsePhone("+79001234567")
	if err != nil {
		t.Fatal(err)
	}
	other, err := citizen.ParsePhone("+79001234568")
	if err != nil {
		t.Fatal(err)
	}
	open := &Config{SMSC: []SMSCConfig{{Name: "a", Pool: "a", Routes: []string{"0001"}}, {Name: "b", Pool: "b"}}}
	narrow := &Config{SMSC: []SMSCConfig{{Name: "a", Pool: "a", Routes: []string{"0001"}}}}
	pilot := &Config{SMSC: []SMSCConfig{{Name: "b", Pool: "b"}}, Pilot: PilotConfig{AllowList: []PhoneSetting{{phone}}}}
	for name, c := range map[string]struct {
		config          *Config
		channel, agency string
		to              citizen.Phone
		test            bool
		pool            string
		ok              bool
	}{
		"an agency's own pool":        {open, "sms", "0001", phone, false, "a", true},
		"the common pool":             {open, "sms", "0002", phone, false, "b", true},
		"no pool for this agency":     {narrow, "sms", "0002", phone, false, "", false},
		"a test key":                  {open, "sms", "0001", phone, true, simulatorPool, true},
		"no voice yet":                {open, "voice", "0001", phone, false, "", false},
		"a test key has no voice yet": {open, "voice", "0001", phone, true, "", false},
		"a pilot's own phone":         {pilot, "sms", "0001", phone, false, "b", true},
		"a pilot's other phone":       {pilot, "sms", "0001", other, false, simulatorPool, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool, ok := routes(c.config)(c.channel, c.agency, c.to, c.test)
			if pool != c.pool || ok != c.ok {
				t.Errorf("%q %v", pool, ok)
			}
		})
	}
}
