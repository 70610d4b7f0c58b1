package smpptest

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"ekc/smpp"
)

// FuzzStream throws octets at a bound link: the server may close it, but it must answer the next client.
func FuzzStream(f *testing.F) {
	f.Add(smpp.AppendSubmitSM(nil, 2, message("79261234567", "раз")))
	f.Add(smpp.AppendSubmitSM(nil, 2, message(Number(0, ReplyLong), "раз")))
	f.Add(smpp.AppendDeliverSMResp(smpp.AppendHeaderOnly(nil, smpp.GenericNack, 8, 1), 1, 0x64))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := NewServer(t)
		for range 2 {
			conn, err := net.Dial("tcp", s.Addr())
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			in := smpp.AppendBind(nil, smpp.BindTransceiver, 1, &smpp.Bind{SystemID: "ekc"})
			if _, err := conn.Write(append(in, b...)); err == nil {
				_ = conn.(*net.TCPConn).CloseWrite()
				_, _ = io.Copy(io.Discard, conn)
			}
			conn.Close()
			_ = s.Summary()
			_ = s.Messages()
			b = nil
		}
		if n := s.Stats().Binds; n != 2 {
			t.Fatalf("%d binds", n)
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte("submit\t1\t1\t\"ekc\"\t1\t1\t7926\t\"EKC\"\t0\t0\t1\t1\tabc\noffered\t1\t1\t\"ekc\"\t0\t1\t7926\tDELIVRD\t0\n"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_ = ReadRecord(bytes.NewReader(b), func(Line) error { return nil })
	})
}
