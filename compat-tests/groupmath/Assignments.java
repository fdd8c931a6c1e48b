import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.utils.internals.LogContext;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.coordinator.common.runtime.CoordinatorMetadataDelta;
import org.apache.kafka.coordinator.common.runtime.CoordinatorMetadataImage;
import org.apache.kafka.coordinator.common.runtime.CoordinatorRecord;
import org.apache.kafka.coordinator.group.api.assignor.ConsumerGroupPartitionAssignor;
import org.apache.kafka.coordinator.group.api.assignor.SubscriptionType;
import org.apache.kafka.coordinator.group.assignor.RangeAssignor;
import org.apache.kafka.coordinator.group.assignor.UniformAssignor;
import org.apache.kafka.coordinator.group.generated.ConsumerGroupTargetAssignmentMemberKey;
import org.apache.kafka.coordinator.group.generated.ConsumerGroupTargetAssignmentMemberValue;
import org.apache.kafka.coordinator.group.modern.Assignment;
import org.apache.kafka.coordinator.group.modern.ModernGroupMember;
import org.apache.kafka.coordinator.group.modern.TargetAssignmentBuilder;
import org.apache.kafka.coordinator.group.modern.consumer.ConsumerGroup;
import org.apache.kafka.coordinator.group.modern.consumer.ConsumerGroupMember;
import org.apache.kafka.coordinator.group.modern.consumer.ResolvedRegularExpression;
import org.apache.kafka.coordinator.group.util.UpdatedMembersAndTargetAssignmentView;
import org.apache.kafka.timeline.SnapshotRegistry;

/**
 * Has Kafka's own group, target assignment builder and assignors make assignments for random groups that change, and
 * prints what went in and the records that came out. What the lines mean stands in kafka_test.go of
 * coordinator/group/assignor.
 *
 * Arguments: the seed, the number of groups.
 */
public class Assignments {
    static final String REGEX = "t.*";

    public static void main(String[] args) {
        long seed = Long.parseLong(args[0]);
        for (int i = 0; i < Integer.parseInt(args[1]); i++) {
            new Assignments(new Random(seed * 1_000_003 + i)).run();
        }
        System.out.print(out);
    }

    static final StringBuilder out = new StringBuilder();

    final Random random;
    boolean mixed;
    final boolean longIds;
    final boolean strangeIds;
    final boolean collide; // ids of members and topics have one hash each
    final int partitionsMax;
    final boolean even; // topics have one of two sizes
    final int rate; // one of so many topics is subscribed to, in mixed groups
    final Image image = new Image();
    final ConsumerGroup group = new ConsumerGroup(new LogContext(), new SnapshotRegistry(new LogContext()), "g");
    final List<String> joined = new ArrayList<>();
    ConsumerGroupPartitionAssignor assignor;
    Set<String> matched = new TreeSet<>();
    Set<String> names = new TreeSet<>();
    boolean byRegex;
    int made;

    Assignments(Random random) {
        this.random = random;
        mixed = random.nextBoolean();
        longIds = random.nextInt(8) == 0;
        strangeIds = random.nextInt(10) == 0;
        collide = random.nextInt(10) == 0;
        byRegex = random.nextInt(5) == 0;
        partitionsMax = random.nextInt(12) == 0 ? 300 : 50;
        even = random.nextInt(4) == 0;
        rate = 2 + random.nextInt(3);
        assignor = random.nextInt(4) == 0 ? new RangeAssignor() : new UniformAssignor();
    }

    void run() {
        out.append("=\n");
        if (random.nextInt(100) == 0) {
            deal();
            return;
        }
        if (collide && random.nextBoolean()) {
            shrink();
            return;
        }
        // Of topics that collide there must be many before Java makes a tree of them.
        int topics = 1 + random.nextInt(collide || random.nextInt(3) == 0 ? 20 : 6);
        for (int i = 0; i < topics; i++) {
            addTopic();
        }
        match();
        names = someTopics();
        int members = 1 + random.nextInt(random.nextInt(3) == 0 ? 50 : 12);
        boolean oneByOne = random.nextBoolean();
        for (int i = 0; i < members; i++) {
            ConsumerGroupMember m = newMember();
            if (oneByOne && members < 8 || i == members - 1) {
                assign(m, null);
            } else {
                store(m);
            }
        }
        int steps = random.nextInt(20);
        for (int i = 0; i < steps; i++) {
            step();
        }
    }

    // Many partitions of one topic are dealt to a power of two of members, so that a member's collide in its set. Then all
    // subscribe to the same, and more come, so that it must choose what it gives back.
    void deal() {
        mixed = true;
        byRegex = false;
        assignor = new UniformAssignor();
        image.put("t0", uuid(), 400 + random.nextInt(900));
        image.put("t1", uuid(), 0);
        made = 2;
        int members = 16 << random.nextInt(3);
        for (int i = 0; i < members; i++) {
            ConsumerGroupMember m = new ConsumerGroupMember.Builder("c" + made++)
                .setSubscribedTopicNames(i == 0 ? List.of("t0", "t1") : List.of("t0")).build();
            if (i < members - 1) {
                store(m);
            } else {
                assign(m, null);
            }
        }
        for (int round = 0; round < 3; round++) {
            mixed = round == 1;
            names = mixed ? names : new TreeSet<>(List.of("t0"));
            for (String id : List.copyOf(joined)) {
                store(new ConsumerGroupMember.Builder(group.getOrMaybeCreateMember(id, false)).setSubscribedTopicNames(
                    mixed && joined.indexOf(id) == 1 ? List.of("t0", "t1") : List.of("t0")).build());
            }
            for (int n = random.nextInt(2 + members / 2); n > 0; n--) {
                store(new ConsumerGroupMember.Builder("c" + made++).setSubscribedTopicNames(List.of("t0")).build());
            }
            refresh();
            for (int n = random.nextInt(2 + members / 2); n > 0 && joined.size() > 2; n--) {
                leave(joined.get(random.nextInt(joined.size())));
            }
            refresh();
        }
    }

    // Few members have many topics that collide. Then fewer are subscribed to and more members come, so that a member
    // drops topics and gives back others at once, all out of one tree.
    void shrink() {
        mixed = false;
        byRegex = false;
        assignor = new UniformAssignor();
        for (int n = 12 + random.nextInt(30); n > 0; n--) {
            image.put("t" + made++, uuid(), 1 + random.nextInt(4));
        }
        names = new TreeSet<>(image.ids.keySet());
        for (int n = random.nextInt(2); n > 0; n--) {
            store(newMember());
        }
        assign(newMember(), null);
        for (int round = 0; round < 4; round++) {
            String some = someTopic();
            names.removeIf(name -> !name.equals(some) && random.nextInt(6) == 0);
            boolean even = random.nextBoolean();
            for (String id : joined) {
                var b = new ConsumerGroupMember.Builder(group.getOrMaybeCreateMember(id, false));
                List<String> all = new ArrayList<>(names);
                store(b.setSubscribedTopicNames(even ? all : all.subList(random.nextInt(2), all.size())).build());
            }
            for (int n = random.nextInt(4); n > 0; n--) {
                store(newMember());
            }
            refresh();
        }
    }

    void step() {
        switch (random.nextInt(12)) {
            case 0, 1, 2 -> assign(newMember(), null);
            case 3, 4 -> {
                for (int n = 1 + random.nextInt(random.nextInt(4) == 0 ? 10 : 2); n > 0 && joined.size() > 1; n--) {
                    leave(joined.get(random.nextInt(joined.size())));
                }
                refresh();
            }
            case 5 -> {
                for (int n = 1 + random.nextInt(8); n > 0; n--) {
                    store(newMember());
                }
                refresh();
            }
            case 6 -> {
                String name = someTopic();
                image.put(name, image.ids.get(name), image.counts.get(name) + random.nextInt(12));
                refresh();
            }
            case 7 -> {
                addTopic();
                match();
                refresh();
            }
            case 8 -> {
                String name = someTopic();
                if (image.ids.size() > 1) {
                    image.remove(name);
                    if (random.nextBoolean()) {
                        image.put(name, uuid(), random.nextInt(partitionsMax + 1));
                    }
                    match();
                }
                refresh();
            }
            case 9 -> replace();
            case 10 -> {
                String id = joined.get(random.nextInt(joined.size()));
                var b = new ConsumerGroupMember.Builder(group.getOrMaybeCreateMember(id, false));
                if (random.nextInt(3) == 0) {
                    // No request takes an instance id away, but an assignor goes by the members that it is given.
                    b.setInstanceId(random.nextBoolean() ? newInstance() : null);
                }
                assign(subscribe(b), null);
            }
            default -> {
                if (random.nextInt(3) == 0) {
                    assignor = assignor instanceof RangeAssignor ? new UniformAssignor() : new RangeAssignor();
                }
                if (random.nextInt(6) == 0) {
                    mixed = !mixed;
                }
                if (random.nextInt(4) == 0) {
                    names = someTopics();
                    for (String id : joined) {
                        store(subscribe(new ConsumerGroupMember.Builder(group.getOrMaybeCreateMember(id, false))));
                    }
                }
                refresh();
            }
        }
    }

    Uuid uuid() {
        if (collide) {
            long half = random.nextLong();
            return new Uuid(half, half);
        }
        return random.nextInt(3) == 0 ? new Uuid(random.nextLong(), random.nextLong())
            : new Uuid((long) random.nextInt(256) << 56, (long) random.nextInt(1 << 16) << random.nextInt(2) * 48);
    }

    void addTopic() {
        image.put("t" + made++, uuid(), even ? 6 * (1 + random.nextInt(2)) : random.nextInt(partitionsMax + 1));
    }

    String someTopic() {
        return new ArrayList<>(image.ids.keySet()).get(random.nextInt(image.ids.size()));
    }

    // Topics that exist and some that do not, or not yet.
    Set<String> someTopics() {
        Set<String> some = new TreeSet<>();
        boolean all = random.nextInt(3) > 0 && !mixed;
        for (String name : image.ids.keySet()) {
            if (all || random.nextInt(rate) == 0) {
                some.add(name);
            }
        }
        for (int i = random.nextInt(4); i > 1; i--) {
            some.add("t" + (made + random.nextInt(3)));
        }
        return some;
    }

    void match() {
        matched = new TreeSet<>(image.ids.keySet());
        matched.removeIf(name -> name.hashCode() % 5 == 0);
        if (byRegex) {
            group.updateResolvedRegularExpression(REGEX, new ResolvedRegularExpression(new HashSet<>(matched), 1, 1));
            out.append("e ").append(list(matched)).append('\n');
        }
    }

    ConsumerGroupMember newMember() {
        int number = made++;
        String id = longIds ? new Uuid(random.nextLong(), random.nextLong()).toString() : "c" + number;
        if (collide) {
            // "Aa" and "BB" have the same hash.
            id = "";
            for (int n = number; id.length() < 20; n /= 2) {
                id += n % 2 == 0 ? "Aa" : "BB";
            }
        } else if (random.nextInt(strangeIds ? 2 : 30) == 0) {
            id = (strangeIds ? "c" : id) + made++;
            id = (random.nextBoolean() ? "\uff5e" : "\ud83d\ude80") + id;
        }
        String instance = random.nextInt(5) == 0 ? newInstance() : null;
        return subscribe(new ConsumerGroupMember.Builder(id).setInstanceId(instance));
    }

    String newInstance() {
        String instance = "i" + random.nextInt(1000) + (random.nextInt(9) == 0 ? "\uff5e" : "");
        return group.hasStaticMember(instance) ? null : instance;
    }

    ConsumerGroupMember subscribe(ConsumerGroupMember.Builder b) {
        boolean regex = byRegex && (!mixed || random.nextInt(3) > 0);
        Set<String> some = mixed ? someTopics() : regex ? Set.of() : names;
        return b.setSubscribedTopicNames(new ArrayList<>(new TreeSet<>(some))).setSubscribedTopicRegex(regex ? REGEX : null).build();
    }

    // A member is written down when it joins, and again when it gets something; here always twice.
    void store(ConsumerGroupMember m) {
        print(m);
        apply(m);
    }

    void apply(ConsumerGroupMember m) {
        group.updateMember(m);
        group.updateMember(m);
        if (!joined.contains(m.memberId())) {
            joined.add(m.memberId());
        }
    }

    void print(ConsumerGroupMember m) {
        out.append("m ").append(m.memberId()).append(' ').append(m.instanceId() == null ? "-" : m.instanceId()).append(' ');
        out.append(list(m.subscribedTopicNames())).append(m.subscribedTopicRegex() == null ? " 0\n" : " 1\n");
    }

    static String list(Set<String> names) {
        return names.isEmpty() ? "-" : String.join(",", new TreeSet<>(names));
    }

    void leave(String id) {
        out.append("x ").append(id).append('\n');
        group.removeMember(id);
        group.removeTargetAssignment(id);
        joined.remove(id);
    }

    // A member that is there asks.
    void refresh() {
        assign(group.getOrMaybeCreateMember(joined.get(random.nextInt(joined.size())), false), null);
    }

    // A static member comes back under another id, with another subscription.
    void replace() {
        for (String id : joined) {
            ConsumerGroupMember old = group.getOrMaybeCreateMember(id, false);
            if (old.instanceId() != null) {
                assign(subscribe(new ConsumerGroupMember.Builder("s" + made++).setInstanceId(old.instanceId())), old);
                return;
            }
        }
    }

    void assign(ConsumerGroupMember updated, ConsumerGroupMember replaced) {
        ConsumerGroupMember before = replaced;
        int members = group.numMembers();
        boolean joining = !group.hasMember(updated.memberId());
        if (replaced != null) {
            out.append("r ").append(replaced.memberId()).append(' ').append(updated.memberId()).append('\n');
        } else if (joining) {
            members++;
        } else {
            before = group.getOrMaybeCreateMember(updated.memberId(), false);
        }
        print(updated);
        SubscriptionType type = ConsumerGroup.subscriptionType(group.computeSubscribedRegularExpressions(before, updated),
            group.computeSubscribedTopicNames(before, updated), members);
        UpdatedMembersAndTargetAssignmentView<ConsumerGroupMember, Assignment> view = new UpdatedMembersAndTargetAssignmentView<>(
            group.members(), group.staticMembers(), group.targetAssignment(), ModernGroupMember::instanceId);
        view.addOrUpdateMember(updated.memberId(), updated);
        TargetAssignmentBuilder.TargetAssignmentResult result =
            new TargetAssignmentBuilder.ConsumerTargetAssignmentBuilder(group.groupId(), 1, assignor)
                .withTime(Time.SYSTEM)
                .withMembers(view.members())
                .withSubscriptionType(type)
                .withTargetAssignment(view.targetAssignment())
                .withInvertedTargetAssignment(group.invertedTargetAssignment())
                .withMetadataImage(image)
                .withResolvedRegularExpressions(group.resolvedRegularExpressions())
                .build();
        out.append("a ").append(assignor.name()).append(type == SubscriptionType.HOMOGENEOUS ? " 1" : " 0");
        out.append(joining ? " 1\n" : " 0\n");
        if (replaced != null) {
            Assignment target = group.targetAssignment(replaced.memberId());
            group.removeMember(replaced.memberId());
            group.removeTargetAssignment(replaced.memberId());
            joined.remove(replaced.memberId());
            group.updateTargetAssignment(updated.memberId(), target);
        }
        apply(updated);
        for (CoordinatorRecord record : result.records()) {
            if (record.key() instanceof ConsumerGroupTargetAssignmentMemberKey key) {
                ConsumerGroupTargetAssignmentMemberValue value = (ConsumerGroupTargetAssignmentMemberValue) record.value().message();
                out.append("+ ").append(joined.indexOf(key.memberId()));
                for (ConsumerGroupTargetAssignmentMemberValue.TopicPartition t : value.topicPartitions()) {
                    out.append(' ').append(image.names.get(t.topicId())).append(':').append(ranges(t.partitions()));
                }
                out.append('\n');
                group.updateTargetAssignment(key.memberId(), Assignment.fromRecord(value));
            }
        }
    }

    static String ranges(List<Integer> partitions) {
        StringBuilder b = new StringBuilder();
        for (int i = 0; i < partitions.size(); ) {
            int j = i;
            while (j + 1 < partitions.size() && partitions.get(j + 1) == partitions.get(j) + 1) {
                j++;
            }
            b.append(i > 0 ? "," : "").append(partitions.get(i));
            if (j > i) {
                b.append('-').append(partitions.get(j));
            }
            i = j + 1;
        }
        return b.toString();
    }

    /** The topics that are there. */
    static class Image implements CoordinatorMetadataImage {
        final TreeMap<String, Uuid> ids = new TreeMap<>();
        final Map<Uuid, String> names = new TreeMap<>();
        final Map<String, Integer> counts = new TreeMap<>();

        void put(String name, Uuid id, int partitions) {
            remove(name);
            ids.put(name, id);
            names.put(id, name);
            counts.put(name, partitions);
            out.append("t ").append(name).append(' ').append(id).append(' ').append(partitions).append('\n');
        }

        void remove(String name) {
            Uuid id = ids.remove(name);
            if (id != null) {
                names.remove(id);
                counts.remove(name);
                out.append("t ").append(name).append('\n');
            }
        }

        public Set<Uuid> topicIds() {
            return names.keySet();
        }

        public Set<String> topicNames() {
            return ids.keySet();
        }

        public Optional<TopicMetadata> topicMetadata(String name) {
            return Optional.ofNullable(ids.get(name)).map(id -> new Topic(name, id, counts.get(name)));
        }

        public Optional<TopicMetadata> topicMetadata(Uuid id) {
            return Optional.ofNullable(names.get(id)).flatMap(this::topicMetadata);
        }

        public CoordinatorMetadataDelta emptyDelta() {
            throw new UnsupportedOperationException();
        }

        public long version() {
            return 1;
        }

        public boolean isEmpty() {
            return ids.isEmpty();
        }
    }

    record Topic(String name, Uuid id, int partitionCount) implements CoordinatorMetadataImage.TopicMetadata {
        public List<String> partitionRacks(int partition) {
            return new ArrayList<>();
        }
    }
}
