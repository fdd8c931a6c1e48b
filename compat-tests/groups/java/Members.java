import java.io.*;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.FencedInstanceIdException;
import org.apache.kafka.common.errors.UnreleasedInstanceIdException;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * Members of consumer groups, a thread each, by commands on stdin; what they see goes to stdout (see ../history.go).
 *
 * <pre>
 * open KEY name=M group=G topics=A,B|pattern=RE protocol=range|cooperative|consumer [commit=each|revoke] [instance=I]
 *      [assignor=A] [session=MS] [heartbeat=MS] [maxpoll=MS]
 * hold KEY       stop polling
 * go KEY         poll again
 * commit KEY     commit what has been read
 * close KEY
 * </pre>
 */
public class Members {
    static final PrintStream OUT =
            new PrintStream(new FileOutputStream(FileDescriptor.out), false, StandardCharsets.UTF_8);

    public static void main(String[] args) throws IOException {
        Map<String, Member> members = new HashMap<>();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.trim().split(" +");
            if (words[0].equals("open")) {
                Member m = new Member(args[0], words);
                members.put(words[1], m);
                Thread thread = new Thread(m, words[1]);
                thread.setDaemon(true);
                thread.start();
            } else {
                members.get(words[1]).commands.add(words[0]);
            }
        }
    }

    static String quote(String s) {
        StringBuilder b = new StringBuilder("\"");
        for (char c : String.valueOf(s).toCharArray()) {
            if (c < ' ') b.append(' ');
            else if (c == '"' || c == '\\') b.append('\\').append(c);
            else b.append(c);
        }
        return b.append('"').toString();
    }

    static class Member implements Runnable, ConsumerRebalanceListener {
        final String name;
        final Map<String, String> options = new HashMap<>();
        final BlockingQueue<String> commands = new LinkedBlockingQueue<>();
        final Map<TopicPartition, OffsetAndMetadata> read = new HashMap<>(); // and not committed
        final Map<String, Object> config = new HashMap<>();
        KafkaConsumer<String, String> consumer;
        boolean held;

        Member(String bootstrap, String[] words) {
            for (int i = 2; i < words.length; i++) {
                String[] pair = words[i].split("=", 2);
                options.put(pair[0], pair[1]);
            }
            name = options.get("name");
            config.put("bootstrap.servers", bootstrap);
            config.put("client.id", name);
            config.put("auto.offset.reset", "earliest");
            config.put("enable.auto.commit", false);
            config.put("metadata.max.age.ms", 1000);
            config.put("max.poll.records", 100);
            set("group.id", "group");
            set("group.instance.id", "instance");
            set("max.poll.interval.ms", "maxpoll");
            switch (options.get("protocol")) {
                case "consumer":
                    config.put("group.protocol", "consumer");
                    set("group.remote.assignor", "assignor");
                    return;
                case "cooperative":
                    config.put("partition.assignment.strategy", CooperativeStickyAssignor.class.getName());
                    break;
                default:
                    config.put("partition.assignment.strategy", RangeAssignor.class.getName());
            }
            set("session.timeout.ms", "session");
            set("heartbeat.interval.ms", "heartbeat");
        }

        void set(String key, String option) {
            if (options.containsKey(option)) config.put(key, options.get(option));
        }

        public void run() {
            try {
                consumer = new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer());
                if (options.containsKey("pattern")) {
                    consumer.subscribe(new SubscriptionPattern(options.get("pattern")), this);
                } else {
                    consumer.subscribe(List.of(options.get("topics").split(",")), this);
                }
                emit("opened", "");
                while (obey()) {
                    poll();
                }
                commit(read.keySet());
                consumer.close();
                emit("closed", "");
            } catch (FencedInstanceIdException | UnreleasedInstanceIdException e) {
                emit("fenced", ",\"why\":" + quote(e.toString()));
                consumer.close(CloseOptions.timeout(Duration.ZERO));
            } catch (Throwable e) {
                emit("failed", ",\"why\":" + quote(e.toString()));
                e.printStackTrace();
            }
        }

        /** Does what was commanded meanwhile; false to end. */
        boolean obey() throws InterruptedException {
            for (String c = commands.poll(); c != null || held; c = commands.poll()) {
                if (c == null) c = commands.take();
                switch (c) {
                    case "hold":
                        held = true;
                        emit("held", "");
                        break;
                    case "go":
                        held = false;
                        break;
                    case "commit":
                        commit(read.keySet());
                        break;
                    default:
                        return false;
                }
            }
            return true;
        }

        void poll() {
            ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(20));
            if (records.isEmpty()) return;
            StringBuilder lines = new StringBuilder();
            long now = System.nanoTime();
            for (ConsumerRecord<String, String> r : records) {
                String partition = r.topic() + "-" + r.partition();
                line(lines, now, "polled", ",\"p\":" + quote(partition) + ",\"o\":" + r.offset() + ",\"v\":" + quote(r.value()));
                read.put(new TopicPartition(r.topic(), r.partition()), new OffsetAndMetadata(r.offset() + 1));
            }
            print(lines);
            if ("each".equals(options.get("commit"))) commit(read.keySet());
        }

        void commit(Collection<TopicPartition> of) {
            Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>(read);
            offsets.keySet().retainAll(of);
            if (offsets.isEmpty()) return;
            String text = ",\"os\":{" + offsets.entrySet().stream()
                    .map(e -> quote(e.getKey().toString()) + ":" + e.getValue().offset()).collect(Collectors.joining(",")) + "}";
            try {
                consumer.commitSync(offsets);
                read.keySet().removeAll(offsets.keySet());
                emit("committed", text);
            } catch (RuntimeException e) {
                emit("refused", text + ",\"why\":" + quote(e.toString()));
            }
        }

        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            emit("assigned", list(partitions));
        }

        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            commit(partitions);
            emit("revoked", list(partitions));
        }

        public void onPartitionsLost(Collection<TopicPartition> partitions) {
            read.keySet().removeAll(partitions);
            emit("lost", list(partitions));
        }

        String list(Collection<TopicPartition> partitions) {
            return ",\"ps\":[" + partitions.stream().map(p -> quote(p.toString())).sorted().collect(Collectors.joining(",")) + "]";
        }

        void emit(String kind, String more) {
            StringBuilder b = new StringBuilder();
            line(b, System.nanoTime(), kind, more);
            print(b);
        }

        void line(StringBuilder b, long now, String kind, String more) {
            b.append("{\"t\":").append(now).append(",\"g\":").append(quote(options.get("group"))).append(",\"m\":")
                    .append(quote(name)).append(",\"e\":\"").append(kind).append('"').append(more).append("}\n");
        }

        static void print(CharSequence lines) {
            synchronized (OUT) {
                OUT.print(lines);
                OUT.flush();
            }
        }
    }
}
