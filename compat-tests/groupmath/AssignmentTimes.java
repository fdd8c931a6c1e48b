import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.coordinator.group.api.assignor.ConsumerGroupPartitionAssignor;
import org.apache.kafka.coordinator.group.api.assignor.GroupAssignment;
import org.apache.kafka.coordinator.group.api.assignor.SubscriptionType;
import org.apache.kafka.coordinator.group.assignor.RangeAssignor;
import org.apache.kafka.coordinator.group.assignor.UniformAssignor;
import org.apache.kafka.coordinator.group.modern.Assignment;
import org.apache.kafka.coordinator.group.modern.GroupSpecImpl;
import org.apache.kafka.coordinator.group.modern.MemberSubscriptionAndAssignmentImpl;
import org.apache.kafka.coordinator.group.modern.SubscribedTopicDescriberImpl;
import org.apache.kafka.coordinator.group.modern.TopicIds;

/**
 * Takes the time that Kafka's assignors need for the groups of BenchmarkAssign in coordinator/group/assignor: the median of
 * the thread's time in microseconds, once the code is compiled. Time of the garbage collector is not in it.
 */
public class AssignmentTimes {
    public static void main(String[] args) {
        for (int[] size : new int[][] {{500, 1000}, {2000, 10000}}) {
            for (String kind : List.of("range", "uniform", "uniform-mixed")) {
                ConsumerGroupPartitionAssignor assignor = kind.equals("range") ? new RangeAssignor() : new UniformAssignor();
                boolean mixed = kind.equals("uniform-mixed");
                time(kind + "/" + size[0] + "x" + size[1] + "/fresh", size[0], size[1], mixed, assignor, Map.of());
                Map<String, Assignment> targets = new HashMap<>();
                run(size[0] - 1, size[1], mixed, assignor, Map.of()).members().forEach((id, a) -> {
                    Map<Uuid, Set<Integer>> copy = new HashMap<>();
                    a.partitions().forEach((topic, partitions) -> copy.put(topic, new HashSet<>(new ArrayList<>(partitions))));
                    targets.put(id, new Assignment(copy));
                });
                time(kind + "/" + size[0] + "x" + size[1] + "/joined", size[0], size[1], mixed, assignor, targets);
            }
        }
    }

    static final ThreadMXBean THREADS = ManagementFactory.getThreadMXBean();
    static long spent;

    static void time(String name, int members, int partitions, boolean mixed, ConsumerGroupPartitionAssignor assignor, Map<String, Assignment> targets) {
        List<Long> times = new ArrayList<>();
        long until = System.nanoTime() + 4_000_000_000L;
        while (System.nanoTime() < until) {
            run(members, partitions, mixed, assignor, targets);
            times.add(spent);
        }
        List<Long> last = new ArrayList<>(times.subList(times.size() / 2, times.size()));
        Collections.sort(last);
        System.out.println(name + " " + last.get(last.size() / 2) / 1000);
    }

    static GroupAssignment run(int members, int partitions, boolean mixed, ConsumerGroupPartitionAssignor assignor, Map<String, Assignment> targets) {
        Assignments.Image image = new Assignments.Image();
        List<String> names = new ArrayList<>();
        for (int i = 0; i < partitions / 100; i++) {
            String name = String.format("topic-%03d", i);
            image.put(name, new Uuid((i + 1) * 0x9e3779b97f4a7c15L, (i + 1) * 0xc2b2ae3d27d4eb4fL), 100);
            names.add(name);
        }
        Assignments.out.setLength(0);
        TopicIds.CachedTopicResolver resolver = new TopicIds.CachedTopicResolver(image);
        Map<String, MemberSubscriptionAndAssignmentImpl> specs = new HashMap<>();
        Map<Uuid, Map<Integer, String>> inverted = new HashMap<>();
        for (int i = 0; i < members; i++) {
            String id = String.format("member-%05d", i);
            Set<String> subscribed = new HashSet<>();
            for (int j = 0; j < names.size(); j++) {
                if (!mixed || (((i * 31 + j) * (int) 2654435761L) >>> 16 & 1) == 0) {
                    subscribed.add(names.get(j));
                }
            }
            Assignment target = targets.getOrDefault(id, Assignment.EMPTY);
            target.partitions().forEach((topic, set) -> set.forEach(p -> inverted.computeIfAbsent(topic, t -> new HashMap<>()).put(p, id)));
            specs.put(id, new MemberSubscriptionAndAssignmentImpl(Optional.empty(), Optional.empty(), new TopicIds(subscribed, resolver), target));
        }
        GroupSpecImpl spec = new GroupSpecImpl(specs, mixed ? SubscriptionType.HETEROGENEOUS : SubscriptionType.HOMOGENEOUS, inverted);
        SubscribedTopicDescriberImpl describer = new SubscribedTopicDescriberImpl(image);
        long began = THREADS.getCurrentThreadCpuTime();
        GroupAssignment result = assignor.assign(spec, describer);
        spent = THREADS.getCurrentThreadCpuTime() - began;
        return result;
    }
}
