"""confluent-kafka, which is librdkafka in Python: see ../scenarios.md."""

import sys
import time

sys.path.insert(0, "..")
from python_report import RECORDS, Seen, arguments, record, scenario  # noqa: E402

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition  # noqa: E402
from confluent_kafka.admin import AdminClient, NewTopic  # noqa: E402

BOOTSTRAP, TOPIC, GROUP, SECOND = arguments()


def create_topic():
    admin = AdminClient({"bootstrap.servers": BOOTSTRAP})
    admin.create_topics([NewTopic(TOPIC, num_partitions=3, replication_factor=1)])[TOPIC].result(30)
    partitions = admin.list_topics(TOPIC, timeout=30).topics[TOPIC].partitions
    assert len(partitions) == 3, partitions


def produce(tag, written, **config):
    producer = Producer({"bootstrap.servers": BOOTSTRAP, "acks": "all", "linger.ms": 20, **config})
    failed, offsets = [], []

    def delivered(err, message):
        if err is not None:
            failed.append(err)
        else:
            offsets.append(message.offset())

    for i in range(RECORDS):
        key, value = record(tag, i)
        written.add(key)
        producer.produce(TOPIC, key=key, value=value, headers={"codec": tag}, on_delivery=delivered)
    left = producer.flush(60)
    assert left == 0 and not failed and len(offsets) == RECORDS, (left, failed, len(offsets))


def take(seen, message):
    if message.error():
        raise RuntimeError(message.error())
    headers = dict(message.headers() or [])
    seen.take(message.key().decode(), message.value().decode(), headers.get("codec", b"").decode())


def read_back(written):
    consumer = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": "unused", "enable.auto.commit": False})
    consumer.assign([TopicPartition(TOPIC, p, OFFSET_BEGINNING) for p in range(3)])
    seen, deadline = Seen(), time.monotonic() + 60
    while len(seen) < len(written):
        assert time.monotonic() < deadline, f"{len(seen)} records in 60 s"
        message = consumer.poll(0.5)
        if message is not None:
            take(seen, message)
    consumer.close()
    seen.equal(written)


def read_in_group(at_least, seen):
    consumer = Consumer({
        "bootstrap.servers": BOOTSTRAP, "group.id": GROUP, "enable.auto.commit": False, "auto.offset.reset": "earliest",
    })
    consumer.subscribe([TOPIC])
    left, deadline = at_least, time.monotonic() + 60
    while left > 0:
        assert time.monotonic() < deadline, f"{left} records were not read in 60 s"
        messages = consumer.consume(50, 0.5)
        for message in messages:
            take(seen, message)
        if messages:
            consumer.commit(asynchronous=False)
        left -= len(messages)
    consumer.close()


def group_resume(seen, written):
    read_in_group(len(written) - len(seen), seen)
    seen.equal(written)


def after_restart():
    written, seen = set(), Seen()
    produce("again", written, **{"enable.idempotence": True, "compression.type": "zstd"})
    read_in_group(RECORDS, seen)
    seen.equal(written)


def first():
    written, seen = set(), Seen()
    scenario("create-topic", create_topic)
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        scenario("produce-" + codec, lambda: produce(codec, written, **{"compression.type": codec}))
    scenario("produce-idempotent", lambda: produce("idempotent", written, **{"enable.idempotence": True}))
    scenario("read-back", lambda: read_back(written))
    scenario("group-commit", lambda: read_in_group(100, seen))
    scenario("group-resume", lambda: group_resume(seen, written))


if SECOND:
    scenario("after-restart", after_restart)
else:
    first()
