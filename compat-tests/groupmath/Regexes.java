import com.google.re2j.Pattern;
import com.google.re2j.PatternSyntaxException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Random;

/**
 * Says of regular expressions, some given and the others random, whether Kafka's library takes them and which names they
 * match as a whole.
 *
 *   n NAME ...            the names
 *   = EXPRESSION BITS     an expression in base64, and for each name 1 if it matches
 *   ! EXPRESSION WHY      one that is refused, and what the library says, both in base64
 *
 * Arguments: the seed, the number of random expressions.
 */
public class Regexes {
    static final String[] NAMES = {"", "a", "b", "aa", "ab", "ba", "abc", "A", "aB", "a.b", "a-b", "a_b", "a1", "1", "12", "123",
        "orders", "orders-eu", "orders.dlq", "__consumer_offsets", "topic-1", "topic-22", "TOPIC-1", "aaaaaaaaaa", "Q", "E", "d"};

    static final String[] GIVEN = {"", "a", "a|b", "a|", "|a", "|", "()", "(?:)", "a*", "a+?", "a??", "a**", "a*+", "a++", "a?*", "(a*)*",
        "(a|b)*", "^a$", "^", "$", "^^a$$", "a$b", "\\Aa\\z", "\\Aa\\Z", "\\ba\\b", "\\Bb", "\\bab", ".", ".*", ".+", "[a-c]+", "[^a]", "[^a-c]*", "[]a]", "[a", "a]", "[]", "[^]",
        "[^]a]", "[a-]", "[-a]", "[b-a]", "[a-\\d]", "[\\d-a]", "[[:alpha:]]+", "[[:^alpha:]]", "[[:word:]]", "[[:foo:]]", "[:alpha:]", "\\d+", "\\D",
        "\\w+", "\\W", "\\s", "\\S+", "[\\w.]+", "\\pL+", "\\p{L}+", "\\PN", "\\p{Greek}", "\\p{^L}", "\\p{Foo}", "\\p", "\\p{", "\\pX", "\\p{IsGreek}", "\\p{Lu}", "\\p{Any}",
        "(", ")", "(a", "a)", "a)(b", "((a)", "(?:a", "(?", "(?P", "(?P<n>a)", "(?<n>a)", "(?P<n>a)(?P<n>b)", "(?P<>a)", "(?P<n", "(?P<1>a)", "(?P<a-b>a)", "(?P=n)",
        "(?'n'a)", "(?i)a", "(?i:a)b", "(?-i)a", "(?i-s)A", "(?s).", "(?m)^a$", "(?U)a+", "(?x) a", "(?i", "(?ii)a", "(?-)a", "(?i-)a", "(?--i)a", "(?=a)", "(?!a)",
        "(?<=a)b", "(?<!a)b", "(?>a)", "(?#c)a", "a(?=b)b", "(?!__).*", "(?!__consumer_offsets).*", "(?|a)", "(?R)", "(?1)", "a{2}", "a{2,}", "a{1,3}", "a{,2}", "a{2,1}", "a{1000}", "a{1001}", "a{0}",
        "a{", "a{1", "a{1,", "a{a}", "{1}", "a{2}{3}", "a{2}*", "a{2}+", "(a{100}){10}", "(a{100}){11}", "(a{1000}){1000}", "((a{100}){100}){100}", "(a{32}){32}", "(a{2}){500}", "(a{2}){501}", "a{99999999999}", "a{0,1001}", "x{2147483648}",
        "*", "+", "?", "*a", "a|*", "(*)", "(*a)", "^*", "$*", "\\b*", "^+", "\\", "a\\", "\\\\", "\\.", "\\a", "\\e", "\\f", "\\n", "\\r", "\\t", "\\v", "\\h", "\\R", "\\X", "\\C", "\\G", "\\K", "\\N", "\\L",
        "\\0", "\\1", "(a)\\1", "\\8", "\\01", "\\012", "\\0101", "\\101", "\\141", "\\x41", "\\x4", "\\x", "\\x{41}", "\\x{}", "\\x{110000}", "\\x{10FFFF}", "\\x{4G}", "\\u0041", "\\cA", "\\Qa.b\\E", "\\Qa.b", "\\Q", "\\E",
        "\\Q\\E", "\\Qa\\Eb", "\\Q(\\E", "\\Qa)", "a\\Q|\\Eb", "\\Q\\", "(\\Qa\\E)", "\\Qab\\E*", "\\Q\\E*", "a\\Q\\E*", "[\\Qa-c\\E]", "\\-", "\\_", "\\ ", "\\/", "\\:", "\\\"", "\\y", "\\i", "\\z", "\\Z", "a\\zb", "&&", "[a&&b]", "[a-z&&[^b]]", "[a[b]]", "[a\\]]",
        "orders.*", "orders(-eu|\\.dlq)?", "topic-\\d{1,2}", "(?i)topic-\\d+", "[a-z]+[-.][a-z]+", "__.*", "[^_].*", "\u00e9", "[\u00e9-\u00ff]", "\u20ac*", "\ud83d\ude80", "(?i)\u212a", "a\u0000b", "a\nb", "[\\x00-\\x7f]*", "[\\p{L}\\d]+", "[^\\D]+",
        "[\\D\\d]", "[^\\D\\d]", "(?i)[A-C]+", "(?i)[^a]", "(?s:.)*", "(?m:^)(?-m:$)", "\\pN", "\\p{Script=Greek}", "\\p{sc=Greek}", "\\p{Latin}+", "\\p{ASCII}", "\\p{Alpha}", "\\p{L", "\\p{Letter}", "\\p{Lowercase_Letter}", "\\p{lu}", "\\p{greek}", "\\p{Vithkuqi}", "\\p{Kawi}", "\\p{Nag_Mundari}", "\\p{LC}", "\\p{Cn}", "\\p{C}", "\\p{Zyyy}"};

    static final String[] PIECES = {"a", "b", "c", "1", ".", "-", "_", "*", "+", "?", "|", "(", ")", "(?:", "(?i)", "(?i:", "[", "]", "[^", "[a-c]", "[0-9]", "\\d", "\\w", "\\b", "\\B", "^", "$",
        "{2}", "{1,}", "{0,3}", "{,2}", "{", "}", ",", "2", "\\Q", "\\E", "\\", "\\pL", "\\p{Lu}", "(?s)", "(?m)", "(?U)", "(?P<n>", "(?<m>", "[[:alpha:]]", "[:", ":]", "\\A", "\\z", "\\x61", "\\141", "-z", "&&", "E", "orders", "topic", "\u00e9", "[\\d", "\\.]", "=", "!", "<", ">", "P", ":", "i", "s", "x41"};

    public static void main(String[] args) {
        Random random = new Random(Long.parseLong(args[0]));
        StringBuilder out = new StringBuilder("n " + String.join(" ", NAMES) + "\n");
        List<String> all = new ArrayList<>(List.of(GIVEN));
        for (int i = 0; i < Integer.parseInt(args[1]); i++) {
            StringBuilder b = new StringBuilder();
            for (int n = 1 + random.nextInt(9); n > 0; n--) {
                b.append(PIECES[random.nextInt(PIECES.length)]);
            }
            all.add(b.toString());
        }
        for (int depth : new int[] {10, 900, 998, 999, 1000, 1001, 1500}) {
            all.add("(".repeat(depth) + "a" + ")".repeat(depth));
            all.add("(?:".repeat(depth) + "a" + ")*".repeat(depth));
        }
        for (String expression : all) {
            out.append(say(expression)).append('\n');
        }
        System.out.print(out);
    }

    static String say(String expression) {
        try {
            Pattern p = Pattern.compile(expression);
            StringBuilder bits = new StringBuilder();
            for (String name : NAMES) {
                bits.append(p.matcher(name).matches() ? '1' : '0');
            }
            return "= " + pack(expression) + " " + bits;
        } catch (PatternSyntaxException e) {
            return "! " + pack(expression) + " " + pack(e.getDescription());
        } catch (RuntimeException | StackOverflowError | OutOfMemoryError e) {
            return "! " + pack(expression) + " " + pack("broken: " + e);
        }
    }

    static String pack(String s) {
        return "~" + Base64.getEncoder().encodeToString(s.getBytes(StandardCharsets.UTF_8));
    }
}
