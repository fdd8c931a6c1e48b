import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import java.util.regex.Pattern;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.MemberToRemove;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs Kafka's command line tools one after the other in one JVM, since starting one takes longer than what they do. Each line of
 * stdin is a command, its words parted by tabs: the main class of a tool and its arguments, or one of
 *
 *   @member NAME BOOTSTRAP GROUP PROTOCOL INSTANCE TOPICS RECORDS   a consumer that reads and commits so many records and stays
 *   @leave NAME                                                     it ends; with an instance its place is kept
 *   @remove NAME                                                    that place is taken away
 *
 * where INSTANCE is "-" for none and TOPICS is a list, or an expression between slashes. The answer to a command is a line with its
 * exit code and the lengths of what it wrote to stdout and stderr, followed by both.
 */
public final class Toolbox {
    /** Ends a tool in the place of the JVM. */
    private static final class Ended extends Error {
        Ended() {
            super("ended", null, false, false);
        }
    }

    private static int code;
    private static boolean ended;

    public static void main(String[] argv) throws Exception {
        Exit.Procedure end = (status, message) -> {
            if (!ended) {
                ended = true;
                code = status;
            }
            throw new Ended();
        };
        Exit.setExitProcedure(end);
        Exit.setHaltProcedure(end);
        Exit.setShutdownHookAdder((name, runnable) -> { });
        PrintStream answers = System.out;
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            ByteArrayOutputStream err = new ByteArrayOutputStream();
            PrintStream outText = new PrintStream(out, true, StandardCharsets.UTF_8);
            PrintStream errText = new PrintStream(err, true, StandardCharsets.UTF_8);
            System.setOut(outText);
            System.setErr(errText);
            run(line.split("\t", -1));
            outText.flush();
            errText.flush();
            answers.println(code + " " + out.size() + " " + err.size());
            out.writeTo(answers);
            err.writeTo(answers);
            answers.flush();
        }
        for (Member m : members.values()) {
            m.leave();
        }
    }

    private static void run(String[] words) {
        code = 0;
        ended = false;
        try {
            switch (words[0]) {
                case "@member":
                    members.put(words[1], new Member(words));
                    members.get(words[1]).settled();
                    break;
                case "@leave":
                    members.get(words[1]).leave();
                    break;
                case "@remove":
                    members.remove(words[1]).remove();
                    break;
                default:
                    Class.forName(words[0]).getMethod("main", String[].class)
                        .invoke(null, (Object) Arrays.copyOfRange(words, 1, words.length));
            }
        } catch (InvocationTargetException e) {
            if (!(e.getCause() instanceof Ended)) {
                e.getCause().printStackTrace();
                code = 1;
            }
        } catch (Ended e) {
            // its code is kept
        } catch (Throwable e) {
            e.printStackTrace();
            code = 1;
        }
    }

    private static final Map<String, Member> members = new HashMap<>();

    /** A consumer on a thread of its own. */
    private static final class Member {
        private final KafkaConsumer<byte[], byte[]> consumer;
        private final long wanted;
        private final CountDownLatch settled = new CountDownLatch(1);
        private final AtomicReference<Throwable> failure = new AtomicReference<>();
        private final Thread thread;
        private final String bootstrap;
        private final String group;
        private final String instance;
        private volatile boolean going = true;

        Member(String[] words) {
            bootstrap = words[2];
            group = words[3];
            instance = words[5];
            Properties p = new Properties();
            p.put("client.id", words[1]);
            p.put("bootstrap.servers", words[2]);
            p.put("group.id", words[3]);
            p.put("group.protocol", words[4]);
            if (!words[5].equals("-")) {
                p.put("group.instance.id", words[5]);
            }
            p.put("auto.offset.reset", "earliest");
            p.put("enable.auto.commit", "false");
            p.put("key.deserializer", ByteArrayDeserializer.class.getName());
            p.put("value.deserializer", ByteArrayDeserializer.class.getName());
            wanted = Long.parseLong(words[7]);
            consumer = new KafkaConsumer<>(p);
            if (words[6].startsWith("/")) {
                consumer.subscribe(Pattern.compile(words[6].substring(1, words[6].length() - 1)));
            } else {
                consumer.subscribe(List.of(words[6].split(",")));
            }
            thread = new Thread(this::read, "member-" + words[1]);
            thread.setDaemon(true);
            thread.start();
        }

        private void read() {
            try {
                long seen = 0;
                while (going) {
                    ConsumerRecords<byte[], byte[]> got = consumer.poll(Duration.ofMillis(50));
                    if (!got.isEmpty()) {
                        seen += got.count();
                        consumer.commitSync();
                    }
                    if (seen >= wanted && !consumer.assignment().isEmpty()) {
                        settled.countDown();
                    }
                }
            } catch (Throwable e) {
                failure.set(e);
                settled.countDown();
            } finally {
                consumer.close();
            }
        }

        void settled() throws Exception {
            if (!settled.await(60, TimeUnit.SECONDS)) {
                throw new IllegalStateException("the member did not read what it was to read in 60 s");
            }
            if (failure.get() != null) {
                throw new IllegalStateException("the member failed", failure.get());
            }
        }

        void leave() throws InterruptedException {
            going = false;
            thread.join(30_000);
        }

        /** Takes the place away that a static member keeps after it has gone. */
        void remove() throws Exception {
            try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
                admin.removeMembersFromConsumerGroup(group,
                    new RemoveMembersFromConsumerGroupOptions(Set.of(new MemberToRemove(instance)))).all().get();
            }
        }
    }
}
