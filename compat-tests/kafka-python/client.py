"""kafka-python: see ../scenarios.md."""

import sys
import time

sys.path.insert(0, "..")
from python_report import RECORDS, Seen, arguments, record, scenario  # noqa: E402

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition  # noqa: E402
from kafka.admin import NewTopic  # noqa: E402

BOOTSTRAP, TOPIC, GROUP, SECOND = arguments()


def create_topic():
    admin = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    admin.create_topics([NewTopic(TOPIC, num_partitions=3, replication_factor=1)])
    partitions = admin.describe_topics([TOPIC])[0]["partitions"]
    assert len(partitions) == 3, partitions
    admin.close()


def produce(tag, written, codec=None, idempotent=False):
    producer = KafkaProducer(
        bootstrap_servers=BOOTSTRAP, acks="all", compression_type=codec, enable_idempotence=idempotent, linger_ms=20,
    )
    sent = []
    for i in range(RECORDS):
        key, value = record(tag, i)
        written.add(key)
        sent.append(producer.send(TOPIC, key=key.encode(), value=value.encode(), headers=[("codec", tag.encode())]))
    for future in sent:
        assert future.get(timeout=60).offset >= 0
    producer.close()


def take(seen, message):
    headers = dict(message.headers)
    seen.take(message.key.decode(), message.value.decode(), headers.get("codec", b"").decode())


def read_back(written):
    consumer = KafkaConsumer(bootstrap_servers=BOOTSTRAP, auto_offset_reset="earliest", enable_auto_commit=False)
    consumer.assign([TopicPartition(TOPIC, p) for p in range(3)])
    consumer.seek_to_beginning()
    seen, deadline = Seen(), time.monotonic() + 60
    while len(seen) < len(written):
        assert time.monotonic() < deadline, f"{len(seen)} records in 60 s"
        for messages in consumer.poll(timeout_ms=500).values():
            for message in messages:
                take(seen, message)
    consumer.close()
    seen.equal(written)


def read_in_group(at_least, seen):
    consumer = KafkaConsumer(
        TOPIC, bootstrap_servers=BOOTSTRAP, group_id=GROUP, auto_offset_reset="earliest", enable_auto_commit=False,
        max_poll_records=50,
    )
    left, deadline = at_least, time.monotonic() + 60
    while left > 0:
        assert time.monotonic() < deadline, f"{left} records were not read in 60 s"
        batches = consumer.poll(timeout_ms=500)
        for messages in batches.values():
            for message in messages:
                take(seen, message)
                left -= 1
        if batches:
            consumer.commit()
    consumer.close()


def group_resume(seen, written):
    read_in_group(len(written) - len(seen), seen)
    seen.equal(written)


def after_restart():
    written, seen = set(), Seen()
    produce("again", written, codec="lz4", idempotent=True)
    read_in_group(RECORDS, seen)
    seen.equal(written)


def first():
    written, seen = set(), Seen()
    scenario("create-topic", create_topic)
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        scenario("produce-" + codec, lambda: produce(codec, written, codec=None if codec == "none" else codec))
    scenario("produce-idempotent", lambda: produce("idempotent", written, idempotent=True))
    scenario("read-back", lambda: read_back(written))
    scenario("group-commit", lambda: read_in_group(100, seen))
    scenario("group-resume", lambda: group_resume(seen, written))


if SECOND:
    scenario("after-restart", after_restart)
else:
    first()
