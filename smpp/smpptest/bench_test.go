package smpptest

import (
	"encoding/binary"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ekc/smpp"
)

// BenchmarkSubmit is the ceiling of the simulator: one link, 1000 unanswered submit_sm, a receipt for each, the client as bare as can be.
// cpu-ms/1k is of the whole process, the client's share included.
func BenchmarkSubmit(b *testing.B) {
	for _, k := range []struct {
		name     string
		receipts bool
		change   func(*Config)
	}{
		{"no receipts", false, func(*Config) {}},
		{"receipts", true, func(*Config) {}},
		{"receipts and record file", true, func(c *Config) { c.RecordFile = b.TempDir() + "/record" }},
	} {
		b.Run(k.name, func(b *testing.B) {
			cfg := Config{ReceiptDelay: 300 * time.Millisecond}
			k.change(&cfg)
			s, err := Start(cfg)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			conn, err := net.Dial("tcp", s.Addr())
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			m := Incoming{From: "EKC", To: "79261000000", Text: strings.Repeat("Ж", 59)}.segments(1)[0]
			if k.receipts {
				m.RegisteredDelivery = 1
			}
			if _, err := conn.Write(smpp.AppendBind(nil, smpp.BindTransceiver, 1, &smpp.Bind{SystemID: "ekc"})); err != nil {
				b.Fatal(err)
			}
			pdu := smpp.AppendSubmitSM(nil, 0, &m)
			number := strings.Index(string(pdu), "79261000000") + 4
			before := cpu()
			b.ResetTimer()
			benchClient(b, conn, pdu, number, b.N, k.receipts)
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-ms/1k")
			if st := s.Stats(); st.Messages != b.N || k.receipts && st.Receipts != b.N {
				b.Fatalf("%d accepted of %d\n%s", st.Messages, b.N, s.Summary())
			}
		})
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchClient sends n copies of pdu, each with its own destination, and acknowledges the receipts.
func benchClient(b *testing.B, conn net.Conn, pdu []byte, number, n int, receipts bool) {
	const window, batch = 1000, 100
	var answered atomic.Int64
	acks := make(chan []byte, 1024)
	free := make(chan struct{}, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf, have, got := make([]byte, 256<<10), 0, 0
		for int(answered.Load()) < n || receipts && got < n {
			k, err := conn.Read(buf[have:])
			if err != nil {
				b.Error(err)
				return
			}
			have += k
			used := 0
			var ack []byte
			for have-used >= smpp.HeaderLen {
				p := buf[used:have]
				size := int(binary.BigEndian.Uint32(p))
				if size > len(p) {
					break
				}
				switch smpp.CommandID(binary.BigEndian.Uint32(p[4:])) {
				case smpp.SubmitSMResp:
					answered.Add(1)
				case smpp.DeliverSM:
					got++
					ack = smpp.AppendDeliverSMResp(ack, binary.BigEndian.Uint32(p[12:]), smpp.StatusOK)
				}
				used += size
			}
			have = copy(buf, buf[used:have])
			if len(ack) > 0 {
				acks <- ack
			}
			select {
			case free <- struct{}{}:
			default:
			}
		}
	}()
	var out []byte
	sent := 0
	for {
		out = out[:0]
		for range min(batch, n-sent, window-(sent-int(answered.Load()))) {
			at := len(out)
			out = append(out, pdu...)
			sent++
			binary.BigEndian.PutUint32(out[at+12:], uint32(sent+1))
			for i, v := 6, 1_000_000+sent%9_000_000; i >= 0; i, v = i-1, v/10 {
				out[at+number+i] = byte('0' + v%10)
			}
		}
		for more := true; more; {
			select {
			case a := <-acks:
				out = append(out, a...)
			default:
				more = false
			}
		}
		if len(out) == 0 {
			select {
			case <-done:
				return
			case a := <-acks:
				out = append(out, a...)
			case <-free:
				continue
			}
		}
		if _, err := conn.Write(out); err != nil {
			b.Error(err)
			return
		}
	}
}
