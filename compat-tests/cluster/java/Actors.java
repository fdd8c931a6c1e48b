import java.io.*;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.serialization.*;

/**
 * Producers and consumers, a thread each, by commands on stdin; what they do and are told goes to stdout (see ../history.go).
 *
 * <pre>
 * open NAME style=idempotent|plain|careless bootstrap=B topic=T partitions=N rate=PERSECOND
 * open NAME style=reader bootstrap=B topic=T partitions=N
 * open NAME style=member bootstrap=B topic=T group=G protocol=classic|consumer
 * partitions NAME N     the topic has N partitions now
 * close NAME
 * </pre>
 */
public class Actors {
    static final StringBuilder OUT = new StringBuilder();

    public static void main(String[] args) throws Exception {
        Map<String, Actor> actors = new HashMap<>();
        Thread printer = new Thread(Actors::print);
        printer.setDaemon(true);
        printer.start();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.trim().split(" +");
            Actor a = actors.get(words[1]);
            switch (words[0]) {
                case "open":
                    a = new Actor(words);
                    actors.put(words[1], a);
                    Thread thread = new Thread(a, words[1]);
                    thread.setDaemon(true);
                    thread.start();
                    break;
                case "partitions":
                    a.partitions = Integer.parseInt(words[2]);
                    break;
                default:
                    a.open = false;
            }
        }
    }

    /** Prints what has gathered, many times a second: each event has its own time. */
    static void print() {
        PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out), false, StandardCharsets.UTF_8);
        while (true) {
            String text;
            synchronized (OUT) {
                text = OUT.toString();
                OUT.setLength(0);
            }
            out.print(text);
            out.flush();
            try {
                Thread.sleep(10);
            } catch (InterruptedException e) {
                return;
            }
        }
    }

    static class Actor implements Runnable, ConsumerRebalanceListener {
        final String name;
        final Map<String, String> options = new HashMap<>();
        final Map<String, Object> config = new HashMap<>();
        final Map<TopicPartition, OffsetAndMetadata> read = new HashMap<>(); // and not committed
        final String topic;
        volatile int partitions;
        volatile boolean open = true;
        KafkaConsumer<String, String> consumer;

        Actor(String[] words) {
            name = words[1];
            for (int i = 2; i < words.length; i++) {
                String[] pair = words[i].split("=", 2);
                options.put(pair[0], pair[1]);
            }
            topic = options.get("topic");
            partitions = Integer.parseInt(options.getOrDefault("partitions", "0"));
            config.put("bootstrap.servers", options.get("bootstrap"));
            config.put("client.id", name.replace('/', '-'));
            config.put("metadata.max.age.ms", 1000); // so that new partitions are heard of soon
            config.put("request.timeout.ms", 4000); // so that a broker that is silent is given up soon
        }

        public void run() {
            emit("opened", "", -1, options.get("style"));
            try {
                switch (options.get("style")) {
                    case "reader":
                    case "member":
                        consume();
                        break;
                    default:
                        produce();
                }
            } catch (Throwable e) {
                emit("error", "", -1, "it has ended: " + e);
                e.printStackTrace();
            }
            emit("closed", "", -1, "");
        }

        void produce() throws InterruptedException {
            String style = options.get("style");
            config.put("acks", style.equals("careless") ? "1" : "all");
            config.put("enable.idempotence", style.equals("idempotent"));
            config.put("delivery.timeout.ms", 120000);
            config.put("max.block.ms", 120000);
            double rate = Double.parseDouble(options.get("rate"));
            List<Long> next = new ArrayList<>();
            try (KafkaProducer<String, String> producer =
                    new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
                long began = System.nanoTime();
                for (long i = 0; open; i++) {
                    long due = began + (long) (i * 1e9 / rate);
                    long now = System.nanoTime();
                    if (due > now) TimeUnit.NANOSECONDS.sleep(due - now);
                    else if (now - due > 1_000_000_000L) began += now - due; // it was held up, and does not make up for it
                    int p = (int) (i % Math.min(partitions, producer.partitionsFor(topic).size()));
                    while (next.size() <= p) next.add(0L);
                    send(producer, p, next.get(p));
                    next.set(p, next.get(p) + 1);
                }
            }
        }

        void send(KafkaProducer<String, String> producer, int p, long n) {
            String partition = topic + "-" + p;
            String value = name + "|" + partition + "|" + n;
            emit("sent", partition, -1, value);
            producer.send(new ProducerRecord<>(topic, p, "k" + p, value), (metadata, e) -> {
                if (e == null) emit("acked", partition, metadata.hasOffset() ? metadata.offset() : -1, value);
                else emit(e instanceof RecordTooLargeException ? "refused" : "unknown", partition, -1, value + " " + e);
            });
        }

        void consume() {
            boolean member = options.get("style").equals("member");
            config.put("auto.offset.reset", "earliest");
            config.put("enable.auto.commit", false);
            config.put("default.api.timeout.ms", 120000);
            if (member) {
                config.put("group.id", options.get("group"));
                config.put("group.protocol", options.get("protocol"));
            }
            if (member && options.get("protocol").equals("classic")) {
                config.put("session.timeout.ms", 10000);
                config.put("heartbeat.interval.ms", 500);
            }
            consumer = new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer());
            try {
                if (member) consumer.subscribe(List.of(topic), this);
                int assigned = 0;
                while (open) {
                    if (!member && assigned < partitions) assign(assigned = partitions);
                    poll(member);
                }
                commit(read.keySet());
            } finally {
                consumer.close(CloseOptions.timeout(Duration.ofSeconds(10)));
            }
        }

        void assign(int n) {
            Set<TopicPartition> all = new HashSet<>(consumer.assignment());
            for (int p = 0; p < n; p++) {
                if (all.add(new TopicPartition(topic, p))) emit("assigned", topic + "-" + p, -1, "");
            }
            consumer.assign(all);
        }

        void poll(boolean member) {
            ConsumerRecords<String, String> records;
            try {
                records = consumer.poll(Duration.ofMillis(50));
            } catch (RetriableException e) {
                emit("error", "", -1, e.toString());
                return;
            }
            for (ConsumerRecord<String, String> r : records) {
                emit("read", r.topic() + "-" + r.partition(), r.offset(), r.value());
                if (member) {
                    read.put(new TopicPartition(r.topic(), r.partition()), new OffsetAndMetadata(r.offset() + 1));
                }
            }
            if (!records.isEmpty()) commit(read.keySet());
        }

        void commit(Collection<TopicPartition> of) {
            Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>(read);
            offsets.keySet().retainAll(of);
            if (offsets.isEmpty()) return;
            offsets.forEach((p, o) -> emit("commit", p.toString(), o.offset(), ""));
            try {
                consumer.commitSync(offsets);
                read.keySet().removeAll(offsets.keySet());
                offsets.forEach((p, o) -> emit("done", p.toString(), o.offset(), ""));
            } catch (RebalanceInProgressException e) {
                // The protocol's own way to say "rejoin first"; the next poll does.
            } catch (KafkaException e) {
                emit("error", "", -1, "commit: " + e);
            }
        }

        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            partitions.forEach(p -> emit("assigned", p.toString(), -1, ""));
        }

        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            commit(partitions);
            read.keySet().removeAll(partitions);
            partitions.forEach(p -> emit("revoked", p.toString(), -1, ""));
        }

        public void onPartitionsLost(Collection<TopicPartition> partitions) {
            read.keySet().removeAll(partitions);
            partitions.forEach(p -> emit("revoked", p.toString(), -1, ""));
        }

        void emit(String kind, String partition, long offset, String text) {
            String line = System.nanoTime() + "\t" + name + "\t" + kind + "\t" + partition + "\t" + offset + "\t"
                    + text.replace('\n', ' ').replace('\t', ' ') + "\n";
            synchronized (OUT) {
                OUT.append(line);
            }
        }
    }
}
