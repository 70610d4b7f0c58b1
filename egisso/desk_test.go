package egisso

import (
	"testing"
	"time"

	"ekc/postgres/postgrestest"
)

func TestWhatReadersSayIsPutTogetherAndSilenceShows(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	d := Desk{DB: postgrestest.New(t), Now: func() time.Time { return now }}
	say := func(process string, all ...SourceStatus) {
		t.Helper()
		if err := d.say(t.Context(), process, all); err != nil {
			t.Fatal(err)
		}
	}
	status := func() []SourceStatus {
		t.Helper()
		all, err := d.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	stored := now.Add(-time.Minute)
	say("a", SourceStatus{Source: "mse", Topic: "mse", Partitions: 1, Lag: 5}, SourceStatus{Source: "egisso", Topic: "lists", Partitions: 2, Lag: 3, LastPart: stored})
	say("b", SourceStatus{Source: "egisso", Topic: "lists", Partitions: 1, Lag: 4, Fault: FaultBroker, Since: stored})
	all := status()
	if len(all) != 2 || all[1].Topic != "mse" || all[1].Process != "a" {
		t.Fatalf("%+v", all)
	}
	if s := all[0]; s.Partitions != 3 || s.Lag != 7 || s.Fault != FaultBroker || !s.Since.Equal(stored) || !s.LastPart.Equal(stored) || s.Process != "" {
		t.Errorf("two processes of one topic: %+v", s)
	}
	now = now.Add(statusOld + time.Second)
	say("a", SourceStatus{Source: "egisso", Topic: "lists", Partitions: 3}) // mse is the catalogue's no more, b has died
	if all = status(); len(all) != 1 || all[0].Fault != "" || all[0].Partitions != 3 || !all[0].LastPart.Equal(stored) {
		t.Errorf("after b has died: %+v", all)
	}
	now = now.Add(time.Hour)
	if all = status(); len(all) != 1 || all[0].Fault != FaultSilent || all[0].Partitions != 0 {
		t.Errorf("after a has died: %+v", all)
	}
}

func TestEveryFaultHasItsWords(t *testing.T) {
	t.Parallel()
	for _, c := range []FaultCode{FaultBroker, FaultLogin, FaultCertificate, FaultTopicMissing, FaultTopicDenied, FaultGroupDenied, FaultUnreadable, FaultLost,
		FaultDatabase, FaultStore, FaultRejected, FaultTransactions, FaultSilent} {
		if c.What() == "" || c.Do() == "" {
			t.Errorf("%s says nothing", c)
		}
	}
}
