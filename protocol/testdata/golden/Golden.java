import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import java.util.Map;
import java.util.NavigableMap;
import java.util.Random;
import java.util.TreeMap;

import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.MessageUtil;
import org.apache.kafka.common.protocol.types.BoundField;
import org.apache.kafka.common.protocol.types.Field;
import org.apache.kafka.common.protocol.types.RawTaggedField;
import org.apache.kafka.common.protocol.types.Schema;
import org.apache.kafka.common.protocol.types.Struct;
import org.apache.kafka.common.protocol.types.TaggedFields;
import org.apache.kafka.common.protocol.types.Type;
import org.apache.kafka.common.record.internal.MemoryRecords;

/**
 * Prints requests and responses as Apache Kafka's own classes encode them: one line each with the kind, the API key, the
 * version and the bytes in hexadecimal. Values come from a generator with a fixed seed, by Kafka's schema of that version.
 *
 * java -cp kafka-clients-4.4.0.jar:slf4j-api.jar Golden.java KEY:MIN:MAX... > golden.txt
 */
public class Golden {
    private final Random random;
    private final boolean nulls;

    private Golden(long seed, boolean nulls) {
        this.random = new Random(seed);
        this.nulls = nulls;
    }

    public static void main(String[] args) {
        for (String arg : args) {
            String[] parts = arg.split(":");
            ApiMessageType api = ApiMessageType.fromApiKey(Short.parseShort(parts[0]));
            for (short v = Short.parseShort(parts[1]); v <= Short.parseShort(parts[2]); v++) {
                for (int i = 0; i < 6; i++) {
                    long seed = api.apiKey() * 1000L + v * 10L + i;
                    print("request", api, v, api.requestSchemas()[v], api.newRequest(), new Golden(seed, i == 0));
                    print("response", api, v, api.responseSchemas()[v], api.newResponse(), new Golden(seed + 5, i == 0));
                }
            }
        }
    }

    private static void print(String kind, ApiMessageType api, short version, Schema schema, ApiMessage message, Golden g) {
        Struct struct = g.struct(schema);
        ByteBuffer raw = ByteBuffer.allocate(schema.sizeOf(struct));
        schema.write(raw, struct);
        raw.flip();
        message.read(new ByteBufferAccessor(raw), version);
        if (raw.hasRemaining()) {
            throw new IllegalStateException(api + " version " + version + " left " + raw.remaining() + " bytes");
        }
        ByteBuffer out = MessageUtil.toByteBufferAccessor(message, version).buffer();
        byte[] bytes = new byte[out.remaining()];
        out.get(bytes);
        System.out.println(kind + " " + api.apiKey() + " " + version + " " + HexFormat.of().formatHex(bytes));
    }

    private Struct struct(Schema schema) {
        Struct struct = new Struct(schema);
        for (BoundField field : schema.fields()) {
            struct.set(field, value(field.def.type));
        }
        return struct;
    }

    private Object value(Type type) {
        if (type instanceof TaggedFields) {
            return tagged((TaggedFields) type);
        }
        if (type.isNullable() && (nulls || random.nextInt(6) == 0)) {
            return null;
        }
        if (type instanceof Schema) {
            return struct((Schema) type);
        }
        if (type.isArray()) {
            Object[] array = new Object[nulls ? 0 : random.nextInt(3)];
            for (int i = 0; i < array.length; i++) {
                array[i] = value(type.arrayElementType().get());
            }
            return array;
        }
        String name = type.toString();
        if (name.endsWith("STRING")) {
            return text();
        }
        if (name.endsWith("BYTES")) {
            return ByteBuffer.wrap(bytes());
        }
        if (name.endsWith("RECORDS")) {
            return MemoryRecords.readableRecords(ByteBuffer.wrap(bytes()));
        }
        return switch (name) {
            case "BOOLEAN" -> random.nextBoolean();
            case "INT8" -> (byte) random.nextInt();
            case "INT16" -> (short) random.nextInt();
            case "UINT16" -> random.nextInt(1 << 16);
            case "INT32" -> random.nextInt();
            case "UINT32" -> (long) random.nextInt() & 0xffffffffL;
            case "INT64" -> random.nextLong();
            case "FLOAT64" -> random.nextDouble();
            case "UUID" -> new Uuid(random.nextLong(), random.nextLong());
            default -> throw new IllegalArgumentException("type " + name);
        };
    }

    private NavigableMap<Integer, Object> tagged(TaggedFields type) {
        NavigableMap<Integer, Object> values = new TreeMap<>();
        if (nulls) {
            return values;
        }
        for (Map.Entry<Integer, Field> known : type.fields().entrySet()) {
            if (random.nextInt(4) > 0) {
                values.put(known.getKey(), value(known.getValue().type));
            }
        }
        if (random.nextInt(8) == 0) {
            int key = 1000 + random.nextInt(100000);
            values.put(key, new RawTaggedField(key, bytes()));
        }
        return values;
    }

    private String text() {
        return new String(bytes(), StandardCharsets.US_ASCII);
    }

    private byte[] bytes() {
        byte[] b = new byte[random.nextInt(8)];
        for (int i = 0; i < b.length; i++) {
            b[i] = (byte) ('a' + random.nextInt(26));
        }
        return b;
    }
}
