// Prints what Apache Kafka itself makes of batches. Not part of the build; run by hand with Kafka's jars on the class path:
//
//   go test ./protocol/batch -run TestVerdictsAreKafkas -write-cases /tmp/cases
//   java -cp "$KAFKA_LIBS/*" protocol/batch/testdata/Golden.java verdicts /tmp/cases > protocol/batch/testdata/verdicts.tsv
//   java -cp "$KAFKA_LIBS/*" protocol/batch/testdata/Golden.java batches > protocol/batch/testdata/batches.tsv
import java.nio.ByteBuffer;
import java.nio.file.*;
import java.util.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.compress.*;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.*;
import org.apache.kafka.common.requests.*;
import org.apache.kafka.common.utils.*;
import org.apache.kafka.common.utils.internals.*;
import org.apache.kafka.storage.internals.log.*;

public class Golden {
    static final long NOW = 1_700_000_000_000L;

    public static void main(String[] args) throws Exception {
        if (args[0].equals("batches")) batches();
        else for (String line : Files.readAllLines(Path.of(args[1]))) System.out.println(verdict(line));
    }

    static Compression of(int id) { return Compression.of(CompressionType.forId(id)).build(); }

    // batches writes name, hex: one batch for each codec and size.
    static void batches() {
        for (int codec = 0; codec < 5; codec++)
            for (int[] shape : new int[][] {{1, 10}, {3, 0}, {100, 100}, {20, 2_000}}) {
                ByteBuffer buffer = ByteBuffer.allocate(1 << 20);
                MemoryRecordsBuilder b = new MemoryRecordsBuilder(buffer, (byte) 2, of(codec), TimestampType.CREATE_TIME, 5L, -1L,
                    codec == 3 ? 4711L : -1L, codec == 3 ? (short) 2 : -1, codec == 3 ? 9 : -1, codec == 3, false, 7, 1 << 20);
                for (int i = 0; i < shape[0]; i++)
                    b.append(NOW + i * 7, i % 3 == 1 ? null : ("key-" + i).getBytes(), value(i, shape[1]), i % 2 == 0 ? new Header[0]
                        : new Header[] {new RecordHeader("a", new byte[] {(byte) i}), new RecordHeader("b", (byte[]) null)});
                MemoryRecords r = b.build();
                System.out.println(codec + "/" + shape[0] + "x" + shape[1] + "\t" + hex(r.buffer()));
            }
    }

    static byte[] value(int i, int size) {
        if (i % 5 == 4) return null;
        byte[] v = new byte[size];
        for (int j = 0; j < size; j++) v[j] = (byte) ((i * 31 + j * j) >> 3);
        return v;
    }

    static String verdict(String line) {
        String[] f = line.split("\t", -1);
        String answer;
        try {
            answer = check(f);
        } catch (RecordValidationException e) {
            StringBuilder s = new StringBuilder();
            for (ProduceResponse.RecordError r : e.recordErrors()) s.append(r.batchIndex).append('=').append(r.message).append('|');
            answer = Errors.forException(e.invalidException()).code() + "\t" + e.invalidException().getMessage() + "\t" + s + "\t\t\t";
        } catch (Throwable e) {
            answer = Errors.forException(e).code() + "\t" + String.valueOf(e.getMessage()).replace('\n', ' ').replace('\t', ' ') + "\t\t\t\t";
        }
        return line + "\t" + answer;
    }

    // check is what a leader does: ProduceRequest.validateRecords, then UnifiedLog.analyzeAndValidateRecords, then LogValidator.
    static String check(String[] f) {
        int target = Integer.parseInt(f[1]);
        TimestampType type = f[2].equals("1") ? TimestampType.LOG_APPEND_TIME : TimestampType.CREATE_TIME;
        int maxBytes = Integer.parseInt(f[6]);
        TopicPartition tp = new TopicPartition("t", 3);
        MemoryRecords records = MemoryRecords.readableRecords(ByteBuffer.wrap(HexFormat.of().parseHex(f[9])));
        ProduceRequest.validateRecords(Short.parseShort(f[8]), records);
        CompressionType source = CompressionType.NONE;
        int epoch = 0;
        for (MutableRecordBatch b : records.batches()) {
            if (b.baseOffset() != 0) throw new InvalidRecordException("base offset");
            if (b.sizeInBytes() > maxBytes) throw new RecordTooLargeException("size");
            if (!b.isValid()) throw new CorruptRecordException("checksum");
            source = CompressionType.forId(b.compressionType().id);
            epoch = b.partitionLeaderEpoch();
        }
        LogValidator v = new LogValidator(records, tp, clock(), source,
            target < 0 ? of(source.id) : of(target), f[5].equals("1"), (byte) 2, type, Long.parseLong(f[3]), Long.parseLong(f[4]),
            epoch, AppendOrigin.CLIENT, Integer.parseInt(f[7]));
        LogValidator.ValidationResult r = v.validateMessagesAndAssignOffsets(PrimitiveRef.ofLong(0), new Metrics(), BufferSupplier.NO_CACHING);
        if (r.messageSizeMaybeChanged())
            for (MutableRecordBatch b : r.validatedRecords().batches())
                if (b.sizeInBytes() > maxBytes) throw new RecordTooLargeException("size");
        return "0\t\t\t" + hex(r.validatedRecords().buffer()) + "\t" + r.maxTimestampMs() + "\t" + r.messageSizeMaybeChanged();
    }

    // clock stands still at NOW.
    static Time clock() {
        return (Time) java.lang.reflect.Proxy.newProxyInstance(Golden.class.getClassLoader(), new Class<?>[] {Time.class},
            (self, method, a) -> method.getName().equals("milliseconds") ? (Object) NOW : (Object) 0L);
    }

    static String hex(ByteBuffer b) {
        byte[] out = new byte[b.remaining()];
        b.duplicate().get(out);
        return HexFormat.of().formatHex(out);
    }

    static class Metrics implements LogValidator.MetricsRecorder {
        public void recordInvalidMagic() {}
        public void recordInvalidOffset() {}
        public void recordInvalidSequence() {}
        public void recordInvalidChecksums() {}
        public void recordNoKeyCompactedTopic() {}
    }
}
