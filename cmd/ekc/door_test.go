package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// certificate makes the files of a certificate for 127.0.0.1 and what trusts it.
func certificate(t *testing.T) (cert, key string, trust *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	must(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	dir := t.TempDir()
	cert, key, trust = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), x509.NewCertPool()
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	must(t, os.WriteFile(cert, chain, 0o600))
	must(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
	trust.AppendCertsFromPEM(chain)
	return cert, key, trust
}

// TestDoorIsHandedOverUnderTLS: the address answers before there is a database and after, and loses no connection in between.
func TestDoorIsHandedOverUnderTLS(t *testing.T) {
	t.Parallel()
	cert, key, trust := certificate(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	d, err := newDoor(listener, &Config{HTTP: HTTPConfig{TLS: &ServerTLS{Cert: cert, Key: key}}})
	must(t, err)
	defer d.close()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust}}, Timeout: 10 * time.Second}
	status := func(path string) int {
		resp, err := client.Get("https://" + listener.Addr().String() + path)
		must(t, err)
		defer func() { _ = resp.Body.Close() }()
		_, err = io.Copy(io.Discard, resp.Body)
		must(t, err)
		return resp.StatusCode
	}
	if got := [2]int{status("/healthz"), status("/readyz")}; got != [2]int{200, 503} {
		t.Errorf("while there is no database: %v", got)
	}
	handed, err := d.handOver()
	must(t, err)
	real := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })}
	go func() { _ = real.Serve(handed) }()
	defer func() { _ = real.Close() }()
	if got := status("/readyz"); got != http.StatusTeapot {
		t.Errorf("after the handing over: %d", got)
	}
}

func TestDoorWithoutItsCertificateDoesNotOpen(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	if _, err := newDoor(listener, &Config{HTTP: HTTPConfig{TLS: &ServerTLS{Cert: "/nowhere/cert.pem", Key: "/nowhere/key.pem"}}}); err == nil {
		t.Error("opened")
	}
}
