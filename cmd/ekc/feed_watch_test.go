package main

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"ekc/egisso/kafkatest"
)

// watched is what a command has printed so far.
type watched struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *watched) Write(p []byte) (int, error) { w.mu.Lock(); defer w.mu.Unlock(); return w.b.Write(p) }
func (w *watched) String() string              { w.mu.Lock(); defer w.mu.Unlock(); return w.b.String() }

func TestFeedWatchPrintsOutcomesAsTheyCome(t *testing.T) {
	broker := kafkatest.New(t)
	topic := broker.Topic(t, "outcomes", 1)
	t.Setenv("EKC_KAFKA_BROKERS", broker.Addr())
	const list = "5f1c8e1e-8a30-4a5b-9a58-1f6f6f1d9c11"
	event := func(kind, data string) kafka.Message {
		return kafka.Message{Key: []byte(list), Value: []byte(`{"specversion":"1.0","id":"1","source":"ekc","type":"` + kind + `","subject":"` + list +
			`","time":"2026-11-25T08:00:00Z","data":` + data + `}`)}
	}
	status := event("ekc.notification.status.v1", `{"external_id":"A-1","notification_id":"12-34","sequence":2,"state":"undelivered","reason":"absent","code":"err 1"}`)
	broker.Produce(t, topic, status, event("ekc.list.summary.v1", `{"state":"completed","rows":3,"accepted":2,"informed":1}`),
		event("ekc.list.protocol.v1", `{"state":"ready","record_num":3,"record_num_success":2,"page":1,"pages":1,"error_records":[{"row":3}]}`),
		event("ekc.reply.v1", `{"external_id":"A-1","kind":"opt_out"}`), kafka.Message{Key: []byte("other"), Value: []byte("Иванов")})
	for name, c := range map[string]struct {
		args []string
		want []string
		not  string
	}{
		"for people": {nil, []string{list + " notification.status A-1 12-34 #2 undelivered absent err 1\n", list + " list.summary completed: 3 rows, 2 accepted, 1 informed\n",
			list + " list.protocol checked: ready, 2 of 3 taken, 1 rows with a message, page 1 of 1\n", list + " reply A-1 opt_out\n", "a record that is no event\n"}, "Иванов"},
		"for machines, of one list": {[]string{"--json", "--list", list}, []string{string(status.Value) + "\n", `"kind":"opt_out"}}` + "\n"}, "Иванов"},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		var out, errOut watched
		ended := make(chan int, 1)
		go func() {
			ended <- run(ctx, append([]string{"feed", "watch", "--from-beginning", "--topic", topic}, c.args...), nil, &out, &errOut)
		}()
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			missing := ""
			for _, want := range c.want {
				if !strings.Contains(out.String(), want) {
					missing = want
				}
			}
			if missing == "" {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %q is not in %s%s", name, missing, out.String(), errOut.String())
			}
		}
		cancel()
		if code := <-ended; code != exitDone || strings.Contains(out.String(), c.not) {
			t.Errorf("%s: code %d, %s%s", name, code, out.String(), errOut.String())
		}
	}
	var out, errOut watched
	if code := run(t.Context(), []string{"feed", "watch", "--topic", "nowhere"}, nil, &out, &errOut); code != exitUnreachable || !strings.Contains(errOut.String(), "nowhere") {
		t.Errorf("a topic that is not there: code %d, %s", code, errOut.String())
	}
}
