import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.*;

/** The Java client, as an application would use it. See ../scenarios.md. */
public class CompatClient {
    static final int COUNT = 60;
    static final String FILLER = "x".repeat(200);

    final String bootstrap;
    final String topic;
    final String group;

    CompatClient(String bootstrap, String prefix) {
        this.bootstrap = bootstrap;
        this.topic = prefix + "-topic";
        this.group = prefix + "-group";
    }

    interface Step {
        void run() throws Exception;
    }

    static void scenario(String name, Step step) {
        try {
            step.run();
            System.out.println("ok " + name);
        } catch (Throwable e) {
            e.printStackTrace();
            System.out.println("fail " + name + ": " + e);
            System.exit(1);
        }
    }

    static void check(boolean condition, String otherwise) {
        if (!condition) throw new IllegalStateException(otherwise);
    }

    public static void main(String[] args) {
        CompatClient c = new CompatClient(args[0], args[1]);
        if (args[2].equals("first")) {
            c.first();
        } else {
            scenario("after-restart", c::afterRestart);
        }
    }

    void first() {
        scenario("create-topic", this::createTopic);
        Set<String> expected = new HashSet<>();
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            scenario("produce-" + codec, () -> produce(codec, codec, false, expected));
        }
        scenario("produce-idempotent", () -> produce("idempotent", "none", true, expected));
        scenario("read-back", () -> check(readAll().equals(expected), "other records were read than were written"));
        Set<String> seen = new HashSet<>();
        scenario("group-commit", () -> readInGroup(100, seen));
        scenario("group-resume", () -> {
            readInGroup(expected.size() - seen.size(), seen);
            check(seen.equals(expected), "the group has seen other records than were written");
        });
    }

    void createTopic() throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            admin.createTopics(List.of(new NewTopic(topic, 3, (short) 1))).all().get();
            int partitions = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size();
            check(partitions == 3, partitions + " partitions");
        }
    }

    void produce(String tag, String codec, boolean idempotent, Set<String> expected) throws Exception {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        config.put("acks", "all");
        config.put("compression.type", codec);
        config.put("enable.idempotence", idempotent);
        config.put("linger.ms", 20);
        try (Producer<String, String> producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int i = 0; i < COUNT; i++) {
                ProducerRecord<String, String> record = new ProducerRecord<>(topic, tag + "-" + i, tag + ":" + i + ":" + FILLER);
                record.headers().add("codec", codec.getBytes(StandardCharsets.UTF_8));
                sent.add(producer.send(record));
                expected.add(tag + "-" + i);
            }
            for (Future<RecordMetadata> f : sent) {
                check(f.get().hasOffset() && f.get().offset() >= 0, "no offset");
            }
        }
    }

    KafkaConsumer<String, String> consumer(boolean inGroup) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        config.put("auto.offset.reset", "earliest");
        config.put("enable.auto.commit", false);
        if (inGroup) {
            config.put("group.id", group);
            config.put("max.poll.records", 50);
        }
        return new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer());
    }

    void take(ConsumerRecord<String, String> record, Set<String> seen) {
        String key = record.key();
        check(record.value().equals(key.replace('-', ':') + ":" + FILLER), "value of " + key + " is " + record.value());
        Header codec = record.headers().lastHeader("codec");
        check(codec != null && codec.value().length > 0, key + " has no header");
        check(record.timestamp() > 0, key + " has no timestamp");
        check(seen.add(key), key + " came twice");
    }

    Set<String> readAll() {
        Set<String> seen = new HashSet<>();
        try (KafkaConsumer<String, String> consumer = consumer(false)) {
            List<TopicPartition> all = List.of(new TopicPartition(topic, 0), new TopicPartition(topic, 1), new TopicPartition(topic, 2));
            consumer.assign(all);
            consumer.seekToBeginning(all);
            Map<TopicPartition, Long> ends = consumer.endOffsets(all);
            long deadline = System.currentTimeMillis() + 30_000;
            while (all.stream().anyMatch(tp -> consumer.position(tp) < ends.get(tp))) {
                check(System.currentTimeMillis() < deadline, seen.size() + " records in 30 s");
                for (ConsumerRecord<String, String> r : consumer.poll(Duration.ofMillis(500))) take(r, seen);
            }
        }
        return seen;
    }

    /** Reads at least that many records as a member of the group, commits, and leaves. */
    void readInGroup(int atLeast, Set<String> seen) {
        int before = seen.size();
        try (KafkaConsumer<String, String> consumer = consumer(true)) {
            consumer.subscribe(List.of(topic));
            long deadline = System.currentTimeMillis() + 60_000;
            while (seen.size() - before < atLeast) {
                check(System.currentTimeMillis() < deadline, (seen.size() - before) + " records in 60 s");
                for (ConsumerRecord<String, String> r : consumer.poll(Duration.ofMillis(500))) take(r, seen);
                consumer.commitSync();
            }
        }
    }

    void afterRestart() throws Exception {
        Set<String> expected = new HashSet<>();
        Set<String> seen = new HashSet<>();
        produce("again", "lz4", true, expected);
        readInGroup(COUNT, seen);
        check(seen.equals(expected), "the group read " + seen);
    }
}
