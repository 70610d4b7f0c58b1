package smpp

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fiorix/go-smpp/smpp/pdu"
	"github.com/fiorix/go-smpp/smpp/pdu/pdufield"
	"github.com/fiorix/go-smpp/smpp/pdu/pdutext"
)

// benchText is 59 characters of Cyrillic, one segment in UCS-2.
var benchText = strings.Repeat("Сообщение ", 6)[:2*59-5]

func benchMessage() ShortMessage {
	return ShortMessage{
		Source: Address{5, 0, "EKC"}, Dest: Address{1, 1, "79030000000"}, RegisteredDelivery: 1, DataCoding: CodingUCS2,
		ShortMessage: appendText(nil, UCS2, benchText),
	}
}

const benchReceipt = "id:1234567890 sub:001 dlvrd:001 submit date:2611220532 done date:2611220532 stat:DELIVRD err:000 text:"

func BenchmarkEncodeSubmitSM(b *testing.B) {
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		m := benchMessage()
		var text, out []byte
		for i := range b.N {
			text = appendText(text[:0], UCS2, benchText)
			m.ShortMessage = text
			out = AppendSubmitSM(out[:0], uint32(i), &m)
		}
	})
	b.Run("go-smpp", func(b *testing.B) {
		b.ReportAllocs()
		var out bytes.Buffer
		for range b.N {
			p := pdu.NewSubmitSM(nil)
			f := p.Fields()
			_ = f.Set(pdufield.SourceAddr, "EKC")
			_ = f.Set(pdufield.SourceAddrTON, 5)
			_ = f.Set(pdufield.DestinationAddr, "79030000000")
			_ = f.Set(pdufield.DestAddrTON, 1)
			_ = f.Set(pdufield.DestAddrNPI, 1)
			_ = f.Set(pdufield.RegisteredDelivery, 1)
			_ = f.Set(pdufield.ShortMessage, pdutext.UCS2(benchText))
			out.Reset()
			_ = p.SerializeTo(&out)
		}
	})
}

func BenchmarkDecodeDeliverSM(b *testing.B) {
	wire := AppendDeliverSM(nil, 1, &ShortMessage{
		Source: Address{1, 1, "79030000000"}, Dest: Address{5, 0, "EKC"}, ESMClass: 4, ShortMessage: []byte(benchReceipt),
	})
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		var m ShortMessage
		for range b.N {
			_ = m.Decode(wire[HeaderLen:])
		}
	})
	b.Run("ours with the receipt read", func(b *testing.B) {
		b.ReportAllocs()
		var m ShortMessage
		r := readerOf(IDDec, time.UTC, ErrorMap{})
		for range b.N {
			_ = m.Decode(wire[HeaderLen:])
			_ = r.read(&m, time.Time{})
		}
	})
	b.Run("go-smpp", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			_, _ = pdu.Decode(bytes.NewReader(wire))
		}
	})
}

func BenchmarkSubmitSMResp(b *testing.B) {
	wire := AppendSubmitSMResp(nil, 1, StatusOK, "1234567890")
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		src := bytes.NewReader(wire)
		r := bufio.NewReader(src)
		buf := make([]byte, 256)
		for range b.N {
			src.Reset(wire)
			r.Reset(src)
			_, body, _ := ReadPDU(r, buf)
			_, _ = DecodeMessageID(body)
		}
	})
	b.Run("go-smpp", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			_, _ = pdu.Decode(bytes.NewReader(wire))
		}
	})
}

// echo is an SMSC that accepts everything as fast as it can, with or without a receipt for each.
func echo(tb testing.TB, receipts bool) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				r := bufio.NewReaderSize(conn, 64<<10)
				var out []byte
				buf := make([]byte, 4096)
				id := 0
				for {
					h, _, err := ReadPDU(r, buf)
					if err != nil {
						return
					}
					switch h.Command {
					case SubmitSM:
						id++
						name := fmt.Sprint(id)
						out = AppendSubmitSMResp(out, h.Sequence, StatusOK, name)
						if receipts {
							out = AppendDeliverSM(out, uint32(id), &ShortMessage{ESMClass: 4, Source: Address{1, 1, "79030000000"},
								ShortMessage: []byte("id:" + name + benchReceipt[13:])})
						}
					case BindTransceiver:
						out = AppendBindResp(out, BindTransceiverResp, h.Sequence, StatusOK, "SMSC")
					case EnquireLink, Unbind:
						out = AppendHeaderOnly(out, h.Command.Response(), StatusOK, h.Sequence)
					}
					if r.Buffered() < HeaderLen && len(out) > 0 {
						if _, err := conn.Write(out); err != nil {
							return
						}
						out = out[:0]
					}
				}
			}()
		}
	}()
	return ln.Addr().String()
}

// BenchmarkLink sends b.N messages through a link, and the same number of PDUs through a bare pipelined connection.
func BenchmarkLink(b *testing.B) {
	for _, receipts := range []bool{false, true} {
		name := "responses"
		if receipts {
			name = "responses and receipts"
		}
		b.Run("wire, "+name, func(b *testing.B) { benchWire(b, receipts) })
		b.Run("wire on go-smpp, "+name, func(b *testing.B) { benchGoSMPP(b, receipts) })
		for _, window := range []int{1000, 10} {
			b.Run(fmt.Sprintf("link, window %d, %s", window, name), func(b *testing.B) { benchLink(b, receipts, window) })
		}
	}
}

func benchLink(b *testing.B, receipts bool, window int) {
	b.ReportAllocs()
	var answered, received atomic.Int64
	news := make(chan struct{}, 1)
	bound := make(chan struct{}, 1)
	link := NewLink(Config{Name: "smsc", Addr: echo(b, receipts), SystemID: "ekc", Window: window, MessageIDBase: IDDec}, Handlers{
		MayWrite: func() bool { return true },
		Before:   func(*Message) bool { return true },
		Results: func(r []SegmentResult) {
			answered.Add(int64(len(r)))
			signal(news)
		},
		Receipts: func(r []Receipt, done func(error)) {
			received.Add(int64(len(r)))
			done(nil)
			signal(news)
		},
		State: func(s BindState) {
			if s.Phase == Bound {
				signal(bound)
			}
		},
	}, slog.New(slog.DiscardHandler), time.Now)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { _ = link.Run(ctx); close(ended) }()
	<-bound
	b.ResetTimer()
	const batch = 1000
	var sent int64
	for int(sent) < b.N {
		for sent-answered.Load() > 2*batch {
			<-news
		}
		n := min(batch, b.N-int(sent), link.Room())
		if n == 0 {
			<-time.After(100 * time.Microsecond)
			continue
		}
		messages := make([]Message, n)
		for i := range messages {
			messages[i] = Message{ID: uint64(sent) + uint64(i), From: Address{5, 0, "EKC"}, To: Address{1, 1, "79030000000"}, Text: benchText, RegisteredDelivery: receipts}
		}
		link.Start(messages)
		sent += int64(n)
	}
	for answered.Load() < int64(b.N) || receipts && received.Load() < int64(b.N) {
		<-news
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	b.StopTimer()
	cancel()
	<-ended
}

// benchWire is the limit: one connection, a window of 1000, PDUs encoded and counted, nothing else.
func benchWire(b *testing.B, receipts bool) {
	m := benchMessage()
	benchBare(b, receipts, func(out []byte, seq uint32) []byte { return AppendSubmitSM(out, seq, &m) }, nil)
}

// benchGoSMPP is the same with go-smpp's PDUs.
func benchGoSMPP(b *testing.B, receipts bool) {
	benchBare(b, receipts, func(out []byte, seq uint32) []byte {
		p := pdu.NewSubmitSM(nil)
		p.Header().Seq = seq
		f := p.Fields()
		_ = f.Set(pdufield.SourceAddr, "EKC")
		_ = f.Set(pdufield.SourceAddrTON, 5)
		_ = f.Set(pdufield.DestinationAddr, "79030000000")
		_ = f.Set(pdufield.DestAddrTON, 1)
		_ = f.Set(pdufield.RegisteredDelivery, 1)
		_ = f.Set(pdufield.ShortMessage, pdutext.UCS2(benchText))
		b := bytes.NewBuffer(out)
		_ = p.SerializeTo(b)
		return b.Bytes()
	}, func(r *bufio.Reader) (Header, error) {
		p, err := pdu.Decode(r)
		if err != nil {
			return Header{}, err
		}
		return Header{Command: CommandID(p.Header().ID), Sequence: p.Header().Seq}, nil
	})
}

func benchBare(b *testing.B, receipts bool, submit func([]byte, uint32) []byte, read func(*bufio.Reader) (Header, error)) {
	conn, err := net.Dial("tcp", echo(b, receipts))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	r := bufio.NewReaderSize(conn, 64<<10)
	buf := make([]byte, 4096)
	if read == nil {
		read = func(r *bufio.Reader) (Header, error) {
			h, _, err := ReadPDU(r, buf)
			return h, err
		}
	}
	if _, err := conn.Write(AppendBind(nil, BindTransceiver, 1, &Bind{})); err != nil {
		b.Fatal(err)
	}
	if _, err := read(r); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	const window = 1000
	sent, answered, received := 0, 0, 0
	var out []byte
	for answered < b.N || receipts && received < b.N {
		for sent < b.N && sent-answered < window && len(out) < 32<<10 {
			sent++
			out = submit(out, uint32(sent+1))
		}
		if len(out) > 0 {
			if _, err := conn.Write(out); err != nil {
				b.Fatal(err)
			}
			out = out[:0]
		}
		for {
			h, err := read(r)
			if err != nil {
				b.Fatal(err)
			}
			switch h.Command {
			case SubmitSMResp:
				answered++
			case DeliverSM:
				received++
				out = AppendDeliverSMResp(out, h.Sequence, StatusOK)
			}
			if r.Buffered() < HeaderLen {
				break
			}
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}
