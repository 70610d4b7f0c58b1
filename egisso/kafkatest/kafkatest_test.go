package kafkatest_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"ekc/egisso/kafkatest"
)

func TestABrokerKeepsItsDataOverStopAndKill(t *testing.T) {
	t.Parallel()
	b := kafkatest.Own(t)
	topic := b.Topic(t, "kept", 2)
	for i := range 3 {
		b.Produce(t, topic, kafka.Message{Key: []byte{byte(i)}, Value: fmt.Append(nil, i)})
		switch i {
		case 0:
			if err := b.Restart(); err != nil {
				t.Fatal(err)
			}
		case 1:
			b.Kill()
			if err := b.Start(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := b.Read(t, topic); len(got) != 3 {
		t.Errorf("%d messages of 3 after a stop and a kill", len(got))
	}
}

// holds makes TestHold, in a child of TestABrokerGoesWithAKilledTestProcess, keep its broker until it is killed.
const holds = "EKC_KAFKATEST_HOLD"

func TestHold(t *testing.T) {
	if os.Getenv(holds) == "" {
		return
	}
	fmt.Println(kafkatest.New(t).Addr())
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
}

func TestABrokerGoesWithAKilledTestProcess(t *testing.T) {
	t.Parallel()
	kafkatest.Need(t)
	tmp := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestHold$")
	cmd.Env = append(os.Environ(), holds+"=1", "TMPDIR="+tmp)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the child says %q: %v", line, err)
	}
	conn, err := net.Dial("tcp", strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("the broker outlives its killed test process: %v", err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		left, err := os.ReadDir(tmp)
		if err == nil && len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("its folder is left: %v %v", left, err)
		}
	}
}
