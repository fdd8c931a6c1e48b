"""aiokafka: see ../scenarios.md."""

import asyncio
import sys

sys.path.insert(0, "..")
from python_report import RECORDS, Seen, arguments, record, scenario  # noqa: E402

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition  # noqa: E402
from aiokafka.admin import AIOKafkaAdminClient, NewTopic  # noqa: E402

BOOTSTRAP, TOPIC, GROUP, SECOND = arguments()
LIMIT = 60  # seconds, for whatever has to come


async def create_topic():
    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(TOPIC, num_partitions=3, replication_factor=1)])
        partitions = (await admin.describe_topics([TOPIC]))[0]["partitions"]
        assert len(partitions) == 3, partitions
    finally:
        await admin.close()


async def produce(tag, written, codec=None, idempotent=False):
    producer = AIOKafkaProducer(
        bootstrap_servers=BOOTSTRAP, acks="all", compression_type=codec, enable_idempotence=idempotent, linger_ms=20,
    )
    await producer.start()
    try:
        sent = []
        for i in range(RECORDS):
            key, value = record(tag, i)
            written.add(key)
            sent.append(await producer.send(TOPIC, key=key.encode(), value=value.encode(), headers=[("codec", tag.encode())]))
        for done in await asyncio.wait_for(asyncio.gather(*sent), LIMIT):
            assert done.offset >= 0
    finally:
        await producer.stop()


def take(seen, message):
    headers = dict(message.headers)
    seen.take(message.key.decode(), message.value.decode(), headers.get("codec", b"").decode())


async def read(consumer, at_least, seen, commit):
    left = at_least
    while left > 0:
        batches = await consumer.getmany(timeout_ms=500, max_records=50)
        for messages in batches.values():
            for message in messages:
                take(seen, message)
                left -= 1
        if batches and commit:
            await consumer.commit()


async def read_back(written):
    consumer = AIOKafkaConsumer(bootstrap_servers=BOOTSTRAP, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(TOPIC, p) for p in range(3)])
        await consumer.seek_to_beginning()
        seen = Seen()
        await asyncio.wait_for(read(consumer, len(written), seen, commit=False), LIMIT)
        seen.equal(written)
    finally:
        await consumer.stop()


async def read_in_group(at_least, seen):
    consumer = AIOKafkaConsumer(
        TOPIC, bootstrap_servers=BOOTSTRAP, group_id=GROUP, auto_offset_reset="earliest", enable_auto_commit=False,
    )
    await consumer.start()
    try:
        await asyncio.wait_for(read(consumer, at_least, seen, commit=True), LIMIT)
    finally:
        await consumer.stop()


async def group_resume(seen, written):
    await read_in_group(len(written) - len(seen), seen)
    seen.equal(written)


async def after_restart():
    written, seen = set(), Seen()
    await produce("again", written, codec="snappy", idempotent=True)
    await read_in_group(RECORDS, seen)
    seen.equal(written)


def first():
    written, seen = set(), Seen()
    scenario("create-topic", lambda: asyncio.run(create_topic()))
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        scenario("produce-" + codec, lambda: asyncio.run(produce(codec, written, None if codec == "none" else codec)))
    scenario("produce-idempotent", lambda: asyncio.run(produce("idempotent", written, idempotent=True)))
    scenario("read-back", lambda: asyncio.run(read_back(written)))
    scenario("group-commit", lambda: asyncio.run(read_in_group(100, seen)))
    scenario("group-resume", lambda: asyncio.run(group_resume(seen, written)))


if SECOND:
    scenario("after-restart", lambda: asyncio.run(after_restart()))
else:
    first()
