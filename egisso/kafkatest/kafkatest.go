// Package kafkatest gives a test a real Apache Kafka: one node (KRaft) on loopback with free ports, a plaintext listener and one of
// TLS with SCRAM-SHA-512. The shared one is started by the first test that asks and serves the whole test process, each test with
// topics of its own; a test about outages takes a broker of its own. A broker goes with its process, also by kill -9. It finds what
// scripts/kafka.sh got; where there is none the test is skipped, which `make test` names and .ci/run refuses.
package kafkatest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"ekc/postgres/postgrestest"
)

// The one user of the SASL listener. Who comes in plaintext is User:ANONYMOUS, who may do everything.
const (
	Username = "ekc"
	Password = "correct horse battery"
)

// Broker is an Apache Kafka on this machine. Its methods that take a test fail it.
type Broker struct {
	kafka  installation
	dir    string
	plain  int // ports
	secure int
	quorum int
	ca     []byte // PEM

	mu   sync.Mutex
	proc *process // nil when stopped
}

// New returns the broker that all tests of the process share. It must not be stopped.
func New(t testing.TB) *Broker {
	t.Helper()
	b, err := shared()
	return b.or(t, err)
}

// Own returns a broker of the test's own: it can be stopped, killed and started again, and keeps its data until the test ends.
func Own(t testing.TB) *Broker {
	t.Helper()
	b, err := launch()
	b.or(t, err)
	t.Cleanup(b.Kill)
	return b
}

// Need skips the test where there is no Apache Kafka.
func Need(t testing.TB) {
	t.Helper()
	_, err := find()
	(*Broker)(nil).or(t, err)
}

func (b *Broker) or(t testing.TB, err error) *Broker {
	t.Helper()
	if errors.Is(err, errNone) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var shared = sync.OnceValues(launch)

// Addr is host:port of the plaintext listener, SecureAddr of the one with TLS and SCRAM-SHA-512.
func (b *Broker) Addr() string       { return net.JoinHostPort("127.0.0.1", strconv.Itoa(b.plain)) }
func (b *Broker) SecureAddr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(b.secure)) }

// TLS is what a client of SecureAddr needs.
func (b *Broker) TLS() *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(b.ca)
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
}

const (
	pidFile     = "pid"
	startWithin = time.Minute
	stopWithin  = 30 * time.Second
	startTries  = 3 // a port may be taken between our look and the broker's
)

func launch() (*Broker, error) {
	found, err := find()
	if err != nil {
		return nil, err
	}
	for range startTries {
		b := &Broker{kafka: found}
		if b.dir, err = postgrestest.TempDir(os.TempDir(), "ekckafka", pidFile); err != nil {
			return nil, err
		}
		if err = b.format(); err == nil {
			err = b.Start()
		}
		if err == nil {
			return b, nil
		}
		_ = os.RemoveAll(b.dir)
	}
	return nil, err
}

// format writes the settings and makes the storage with its SCRAM user.
func (b *Broker) format() error {
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	b.plain, b.secure, b.quorum = ports[0], ports[1], ports[2]
	keystore, ca, err := certificate()
	if err != nil {
		return err
	}
	b.ca = ca
	if err := os.WriteFile(filepath.Join(b.dir, "keystore.pem"), keystore, 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(b.settings(), fmt.Appendf(nil, settings, b.plain, b.secure, b.quorum, b.dir), 0o600); err != nil {
		return err
	}
	cmd := b.kafka.java("kafka.tools.StorageTool", "format", "--cluster-id", "bWFkZSBmb3IgYSB0ZXN0IQ", "--config", b.settings(),
		"--add-scram", fmt.Sprintf("SCRAM-SHA-512=[name=%s,password=%s]", Username, Password))
	cmd.Dir = b.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("format the broker's storage: %w: %s", err, out)
	}
	return nil
}

func (b *Broker) settings() string { return filepath.Join(b.dir, "server.properties") }
func (b *Broker) logFile() string  { return filepath.Join(b.dir, "kafka.log") }

const settings = `process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:%[3]d
listeners=PLAIN://127.0.0.1:%[1]d,SECURE://127.0.0.1:%[2]d,CONTROLLER://127.0.0.1:%[3]d
advertised.listeners=PLAIN://127.0.0.1:%[1]d,SECURE://127.0.0.1:%[2]d
listener.security.protocol.map=PLAIN:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAIN
controller.listener.names=CONTROLLER
listener.name.secure.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location=%[4]s/keystore.pem
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
allow.everyone.if.no.acl.found=true
log.dirs=%[4]s/data
auto.create.topics.enable=false
num.partitions=1
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.cleaner.enable=false
`

// Start starts a stopped broker on the same ports and data, and returns when it answers.
func (b *Broker) Start() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.proc != nil {
		return nil
	}
	log, err := os.OpenFile(b.logFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := b.kafka.java("kafka.Kafka", b.settings())
	cmd.Dir, cmd.Stdout, cmd.Stderr = b.dir, log, log
	proc, err := startProcess(cmd)
	if err != nil {
		return fmt.Errorf("start Apache Kafka: %w", err)
	}
	if err := os.WriteFile(filepath.Join(b.dir, pidFile), []byte(strconv.Itoa(proc.pid)), 0o600); err != nil {
		proc.kill()
		return err
	}
	if err := b.await(proc); err != nil {
		proc.kill()
		return fmt.Errorf("start Apache Kafka: %w", err)
	}
	b.proc = proc
	return nil
}

// await asks until the broker says that it is in the cluster, on both listeners.
func (b *Broker) await(proc *process) error {
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-proc.done:
			out, _ := os.ReadFile(b.logFile())
			return fmt.Errorf("it ended at once: %s", lastLines(string(out), 8))
		case <-ctx.Done():
			return fmt.Errorf("it does not answer within %s", startWithin)
		case <-tick.C:
		}
		conn, err := net.Dial("tcp", b.SecureAddr())
		if err != nil {
			continue
		}
		_ = conn.Close()
		if k, err := kafka.DialContext(ctx, "tcp", b.Addr()); err == nil {
			brokers, err := k.Brokers()
			_ = k.Close()
			if err == nil && len(brokers) == 1 {
				return nil
			}
		}
	}
}

// Stop lets the broker write everything down and end.
func (b *Broker) Stop() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.proc == nil {
		return nil
	}
	proc := b.proc
	b.proc = nil
	if !proc.stop(stopWithin) {
		return fmt.Errorf("stop Apache Kafka: it did not obey within %s and was killed", stopWithin)
	}
	return nil
}

// Kill is the broker's crash.
func (b *Broker) Kill() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.proc != nil {
		b.proc.kill()
		b.proc = nil
	}
}

// Restart stops and starts.
func (b *Broker) Restart() error { return errors.Join(b.Stop(), b.Start()) }

// errNone says that there is no Apache Kafka on this machine.
var errNone = errors.New("no Apache Kafka on this machine: run scripts/kafka.sh, or set KAFKA_HOME to an installation and have Java 17 or newer")

// installation is where the jars and a Java are.
type installation struct{ program, libs string }

// find looks at KAFKA_HOME and nowhere else when it is set; else beside the module's root, where scripts/kafka.sh puts it.
func find() (installation, error) {
	home := os.Getenv("KAFKA_HOME")
	if home == "" {
		dir, err := os.Getwd()
		if err != nil {
			return installation{}, err
		}
		for !exists(filepath.Join(dir, "go.mod")) && dir != filepath.Dir(dir) {
			dir = filepath.Dir(dir)
		}
		home = filepath.Join(dir, ".tools", "kafka")
	}
	libs := filepath.Join(home, "libs")
	if jars, _ := filepath.Glob(filepath.Join(libs, "kafka_*.jar")); len(jars) == 0 {
		return installation{}, errNone
	}
	for _, program := range []string{filepath.Join(home, "java"), filepath.Join(os.Getenv("JAVA_HOME"), "bin", "java"), "java"} {
		if path, err := exec.LookPath(program); err == nil {
			return installation{path, libs}, nil
		}
	}
	return installation{}, errNone
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// java is a command whose time to start counts, and not its speed after hours.
func (k installation) java(args ...string) *exec.Cmd {
	flags := []string{"-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true", "-cp", filepath.Join(k.libs, "*")}
	return exec.Command(k.program, append(flags, args...)...)
}

// freePorts are below those the kernel gives to connections, so that a broker that is down for a while finds its own free again.
func freePorts(n int) ([]int, error) {
	const from, to = 21_000, 32_000
	var ports []int
	for range 1000 {
		port := from + rand.IntN(to-from)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil || slices.Contains(ports, port) {
			continue
		}
		_ = l.Close()
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, errors.New("no free ports for a broker")
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}
