package harness

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const log4jOfKafka = `status=error
appender.console.type=Console
appender.console.name=C
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=[%d] %p %m (%c)%n
rootLogger.level=WARN
rootLogger.appenderRef.c.ref=C
`

func (b *Broker) kafkaFile(name string) string { return filepath.Join(filepath.Dir(b.DataDir), name) }

// formatKafka writes the configuration and formats the folder as a controller's, with the storage tool's words for which.
func (b *Broker) formatKafka(tb testing.TB, role ...string) {
	tb.Helper()
	for name, text := range map[string]string{"server.properties": b.stockProperties(),
		"log4j2.properties": log4jOfKafka} {
		if err := os.WriteFile(b.kafkaFile(name), []byte(text), 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	// Of the broker's version, since it writes the metadata that the broker reads.
	args := append([]string{"format", "-t", "bW9sZGF1LWNvbXBhdC10ZQ", "-c", b.kafkaFile("server.properties")}, role...)
	Run(tb, 90*time.Second, "", Java(ClassPath("broker"), "kafka.tools.StorageTool", args...)...).Want(tb)
}

// kafkaCommand has the JVM flags of Kafka's own start script, but for its JMX port, which listens on every interface.
func (b *Broker) kafkaCommand() []string {
	flags := "-server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 " +
		"-XX:+ExplicitGCInvokesConcurrent -XX:MaxInlineLevel=15 -Djava.awt.headless=true"
	argv := []string{"java", "-Xmx" + b.cfg.JavaHeap, "-Xms" + b.cfg.JavaHeap}
	argv = append(argv, strings.Fields(flags)...)
	return append(argv, "-Dkafka.logs.dir="+b.kafkaFile("logs"),
		"-Dlog4j2.configurationFile="+b.kafkaFile("log4j2.properties"),
		"-cp", ClassPath("broker"), "kafka.Kafka", b.kafkaFile("server.properties"))
}
