import java.util.HashMap;
import java.util.Map;
import java.util.Random;

/**
 * Walks through Java's hash maps after random changes.
 *
 *   CAPACITY CHANGES KEYS   a map made with the capacity; +K is put, *K is computeIfAbsent, -K is remove; the keys as a walk has them
 *
 * Arguments: the seed, the number of maps.
 */
public class Tables {
    public static void main(String[] args) {
        Random random = new Random(Long.parseLong(args[0]));
        StringBuilder out = new StringBuilder();
        for (int i = 0; i < Integer.parseInt(args[1]); i++) {
            int capacity = random.nextInt(4) == 0 ? random.nextInt(300) : random.nextInt(40);
            int distance = 1 << random.nextInt(10);
            int range = 1 + random.nextInt(80);
            int clusters = 1 + random.nextInt(3);
            int removes = random.nextInt(4);
            Map<Integer, Integer> map = new HashMap<>(capacity);
            out.append(capacity).append(' ');
            for (int n = random.nextInt(160); n >= 0; n--) {
                int key = distance * random.nextInt(range) + random.nextInt(clusters);
                int what = random.nextInt(8);
                if (what < removes) {
                    map.remove(key);
                    out.append('-');
                } else if (what == 7) {
                    map.computeIfAbsent(key, k -> k);
                    out.append('*');
                } else {
                    map.put(key, key);
                    out.append('+');
                }
                out.append(key);
            }
            String keys = map.keySet().toString().replaceAll("[\\[\\] ]", "");
            out.append(' ').append(keys.isEmpty() ? "-" : keys).append('\n');
        }
        System.out.print(out);
    }
}
