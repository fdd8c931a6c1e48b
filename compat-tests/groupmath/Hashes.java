import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.coordinator.group.Utils;

/**
 * Has Kafka hash random topics and sets of them.
 *
 *   t TOPIC ID PARTITIONS RACK,...;RACK,... HASH   a topic with the racks of each partition's replicas; - for no racks at all
 *   g HASH TOPIC ...                               a group of topics that stand above
 *
 * Arguments: the seed, the number of topics.
 */
public class Hashes {
    static final String[] RACKS = {"a", "b", "rack-1", "rack-2", "eu-west-1a", "eu-west-1b", "\u00e9", "\ud83d\ude80", "\uff5e", "a-very-long-name-of-a-rack"};

    public static void main(String[] args) {
        Random random = new Random(Long.parseLong(args[0]));
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        Map<String, Long> all = new HashMap<>();
        for (int i = 0; i < Integer.parseInt(args[1]); i++) {
            Racked topic = new Racked("t".repeat(random.nextInt(random.nextInt(20) == 0 ? 240 : 12)) + "." + i,
                new Uuid(random.nextLong(), random.nextLong()), new ArrayList<>());
            int brokers = random.nextInt(4);
            for (int p = random.nextInt(random.nextInt(10) == 0 ? 300 : 20); p >= 0; p--) {
                List<String> racks = new ArrayList<>();
                for (int b = 0; b < brokers; b++) {
                    racks.add(RACKS[random.nextInt(RACKS.length)]);
                }
                topic.racks.add(racks);
            }
            Assignments.Image image = new Assignments.Image() {
                public java.util.Optional<TopicMetadata> topicMetadata(String name) {
                    return java.util.Optional.of(topic);
                }
            };
            List<String> printed = new ArrayList<>();
            topic.racks.forEach(racks -> printed.add(String.join(",", racks)));
            long hash = Utils.computeTopicHash(topic.name, image);
            all.put(topic.name, hash);
            out.println("t " + topic.name + " " + topic.id + " " + topic.racks.size() + " "
                + (brokers == 0 ? "-" : String.join(";", printed)) + " " + hash);
        }
        for (int i = 0; i < Integer.parseInt(args[1]) / 2; i++) {
            Map<String, Long> some = new HashMap<>(all);
            int rate = 1 + random.nextInt(60);
            some.keySet().removeIf(name -> random.nextInt(rate) > 0);
            out.println("g " + Utils.computeGroupHash(some) + " " + String.join(" ", some.keySet()));
        }
        out.flush();
    }

    record Racked(String name, Uuid id, List<List<String>> racks)
        implements org.apache.kafka.coordinator.common.runtime.CoordinatorMetadataImage.TopicMetadata {
        public int partitionCount() {
            return racks.size();
        }

        public List<String> partitionRacks(int partition) {
            return new ArrayList<>(racks.get(partition));
        }
    }
}
