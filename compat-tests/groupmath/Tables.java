import java.util.HashMap;
import java.util.Map;
import java.util.Random;
import java.util.stream.Collectors;

/**
 * Walks through Java's hash maps after random changes.
 *
 *   CAPACITY SHARING CHANGES KEYS   a map made with the capacity; the hash of a key is the key divided by SHARING;
 *                                   +K is put, *K is computeIfAbsent, -K is remove; the keys as a walk has them
 *
 * Arguments: the seed, the number of maps.
 */
public class Tables {
    public static void main(String[] args) {
        Random random = new Random(Long.parseLong(args[0]));
        StringBuilder out = new StringBuilder();
        for (int i = 0; i < Integer.parseInt(args[1]); i++) {
            int capacity = random.nextInt(4) == 0 ? random.nextInt(300) : random.nextInt(40);
            // Far ones differ in bits that only the spread of a hash brings to the buckets, and hashes become negative.
            int distance = 1 << random.nextInt(random.nextInt(3) == 0 ? 31 : 10);
            int range = 1 + random.nextInt(80);
            int clusters = 1 + random.nextInt(3);
            int removes = random.nextInt(4);
            int sharing = random.nextInt(3) > 0 ? 1 : 1 + random.nextInt(random.nextBoolean() ? 4 : 80);
            Map<Key, Integer> map = new HashMap<>(capacity);
            out.append(capacity).append(' ').append(sharing).append(' ');
            for (int n = random.nextInt(160); n >= 0; n--) {
                int hash = distance * random.nextInt(range) + random.nextInt(clusters);
                Key key = new Key(hash * sharing + random.nextInt(sharing), sharing);
                int what = random.nextInt(8);
                if (what < removes) {
                    map.remove(key);
                    out.append('-');
                } else if (what == 7) {
                    map.computeIfAbsent(key, Key::number);
                    out.append('*');
                } else {
                    map.put(key, key.number);
                    out.append('+');
                }
                out.append(key.number);
            }
            String keys = map.keySet().stream().map(k -> "" + k.number).collect(Collectors.joining(","));
            out.append(' ').append(keys.isEmpty() ? "-" : keys).append('\n');
        }
        System.out.print(out);
    }

    record Key(int number, int sharing) implements Comparable<Key> {
        @Override
        public int hashCode() {
            return number / sharing;
        }

        @Override
        public int compareTo(Key other) {
            return Integer.compare(number, other.number);
        }
    }
}
