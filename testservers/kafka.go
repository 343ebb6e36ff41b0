package testservers

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// KafkaVersion is a line of Apache Kafka that tests run on.
type KafkaVersion string

// The versions that there are.
const (
	Kafka4 KafkaVersion = "kafka-4.3"
	Kafka3 KafkaVersion = "kafka-3.9"
)

// KafkaBroker is one broker, which is a controller too.
type KafkaBroker struct {
	*Process
	// ID is its node.id, from 1.
	ID int
}

// KafkaServer is a Kafka of one or more brokers. They sync every message that they take,
// so that Kill loses none.
type KafkaServer struct{ Brokers []*KafkaBroker }

// KafkaOptions say what is not as usual about a Kafka of a test's own.
type KafkaOptions struct {
	// Brokers is how many there are; 0 is one. With three, internal topics have three
	// replicas.
	Brokers int
	// Settings go into server.properties of each.
	Settings map[string]string
	// Proxies gives, for broker ID, the address that a proxy before it listens on, given
	// the address to connect the proxy to; nil is none. Clients that connect through
	// a proxy are told of no other address.
	Proxies func(id int, upstream string) (string, error)
}

// Kafka is the Kafka that all tests of this binary share: one broker (word: kafka).
func Kafka(t testing.TB, version KafkaVersion) *KafkaServer {
	t.Helper()
	return shared(t, "kafka", []string{string(version)}, string(version), func(i []installation) (*KafkaServer, error) {
		return startKafka(i[0], KafkaOptions{})
	})
}

// NewKafka is a Kafka of the test's own (word: kafka).
func NewKafka(t testing.TB, version KafkaVersion, options KafkaOptions) *KafkaServer {
	t.Helper()
	return own(t, "kafka", []string{string(version)}, func(i []installation) (*KafkaServer, error) {
		return startKafka(i[0], options)
	})
}

// String is what there is, and its version.
func (k *KafkaServer) String() string {
	if len(k.Brokers) == 1 {
		return k.Brokers[0].String()
	}
	return fmt.Sprintf("%d brokers of %s", len(k.Brokers), k.Brokers[0])
}

func (k *KafkaServer) close() {
	for _, broker := range k.Brokers {
		broker.close()
	}
}

// Addrs is where the brokers listen, not counting proxies.
func (k *KafkaServer) Addrs() []string {
	addrs := make([]string, len(k.Brokers))
	for i, broker := range k.Brokers {
		addrs[i] = broker.Addr
	}
	return addrs
}

func startKafka(i installation, o KafkaOptions) (*KafkaServer, error) {
	k := new(KafkaServer)
	if err := k.start(i, o); err != nil {
		k.close()
		return nil, err
	}
	return k, nil
}

func (k *KafkaServer) start(i installation, o KafkaOptions) error {
	n := max(1, o.Brokers)
	controllers, err := freePorts(n)
	if err != nil {
		return err
	}
	cluster := clusterID()
	voters := make([]string, n)
	for j, port := range controllers {
		voters[j] = fmt.Sprintf("%d@%s", j+1, address(port))
	}
	for j, port := range controllers {
		p, _, err := newProcess("Apache Kafka", i.version)
		if err != nil {
			return err
		}
		broker := &KafkaBroker{Process: p, ID: j + 1}
		k.Brokers = append(k.Brokers, broker)
		if err := broker.configure(i, o, n, cluster, address(port), strings.Join(voters, ",")); err != nil {
			return err
		}
	}
	started := make(chan error, n) // of several, none is ready before most are
	for _, broker := range k.Brokers {
		go func() { started <- broker.Start() }()
	}
	for range k.Brokers {
		if failure := <-started; failure != nil {
			err = failure
		}
	}
	return err
}

// configure writes the broker's server.properties and formats its storage.
func (b *KafkaBroker) configure(i installation, o KafkaOptions, n int, cluster, controller, voters string) error {
	settings := map[string]string{
		"process.roles":                            "broker,controller",
		"node.id":                                  fmt.Sprint(b.ID),
		"controller.quorum.voters":                 voters,
		"controller.listener.names":                "CONTROLLER",
		"inter.broker.listener.name":               "PLAINTEXT",
		"listeners":                                "PLAINTEXT://" + b.Addr + ",CONTROLLER://" + controller,
		"advertised.listeners":                     "PLAINTEXT://" + b.Addr,
		"listener.security.protocol.map":           "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT",
		"log.dirs":                                 filepath.Join(b.Dir, "data"),
		"log.flush.interval.messages":              "1",
		"offsets.topic.replication.factor":         fmt.Sprint(min(n, 3)),
		"transaction.state.log.replication.factor": fmt.Sprint(min(n, 3)),
		"transaction.state.log.min.isr":            fmt.Sprint(min(n, 2)),
		"offsets.topic.num.partitions":             "4",
		"group.initial.rebalance.delay.ms":         "0",
		"auto.create.topics.enable":                "false",
		"num.network.threads":                      "2",
		"num.io.threads":                           "4",
		"log.cleaner.dedupe.buffer.size":           "8388608",
	}
	if o.Proxies != nil {
		port, err := freePort()
		if err != nil {
			return err
		}
		proxy, err := o.Proxies(b.ID, address(port))
		if err != nil {
			return err
		}
		settings["listeners"] += ",PROXIED://" + address(port)
		settings["advertised.listeners"] += ",PROXIED://" + proxy
	}
	maps.Copy(settings, o.Settings)
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&text, "%s=%s\n", name, settings[name])
	}
	properties := filepath.Join(b.Dir, "server.properties")
	if err := os.WriteFile(properties, []byte(text.String()), 0o644); err != nil {
		return err
	}
	classes := filepath.Join(i.folder, "lib", "*")
	format := exec.Command("java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", classes,
		"kafka.tools.StorageTool", "format", "-t", cluster, "-c", properties)
	format.Dir = b.Dir
	if out, err := format.CombinedOutput(); err != nil {
		return fmt.Errorf("format the storage of %s: %w\n%s", b, err, out)
	}
	b.command = func() *exec.Cmd {
		return exec.Command("java", "-Xmx384m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
			"-Dlog4j2.disable.jmx=true", "-cp", classes, "kafka.Kafka", properties)
	}
	b.ready = b.serves
	return nil
}

// serves asks for the broker's ApiVersions, which it answers when its listener is open to
// clients, and that is after it has joined the cluster.
func (b *KafkaBroker) serves(ctx context.Context) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", b.Addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	// Size, ApiVersions (18) of version 0, correlation 1, no client id.
	if _, err := conn.Write([]byte{0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff}); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 8))
	return err
}

// clusterID is a random UUID as Kafka writes it.
func clusterID() string {
	var id [16]byte
	_, _ = rand.Read(id[:])
	id[0] &= 0x7f // one that begins with a dash would be taken for an option
	return base64.RawURLEncoding.EncodeToString(id[:])
}
