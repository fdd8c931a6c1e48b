"""Members of consumer groups with confluent-kafka, which is librdkafka, a thread each, by commands on stdin: see
../java/Members.java.
"""

import json
import queue
import sys
import threading
import time
import traceback

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

OUT = threading.Lock()
POLL = 0.02


class Member:
    """One consumer. options are the words of the open command."""

    def __init__(self, bootstrap, options):
        self.bootstrap, self.name, self.options = bootstrap, options["name"], options
        self.commands = queue.Queue()
        self.read = {}  # "topic-0" to the offset after the last record that was read; not committed yet
        self.held = False
        threading.Thread(target=self.run, daemon=True).start()

    def emit(self, kind, **more):
        event = {"t": time.monotonic_ns(), "g": self.options["group"], "m": self.name, "e": kind, **more}
        with OUT:
            print(json.dumps(event, separators=(",", ":")), flush=True)

    def run(self):
        try:
            self.open()
            self.emit("opened")
            while self.obey():
                self.poll()
                if self.options.get("commit") == "each":
                    self.commit(list(self.read))
            self.commit(list(self.read))
            self.close()
            self.emit("closed")
        except BaseException as e:  # noqa: BLE001 - whatever it was, the history tells
            traceback.print_exc()
            self.emit("failed", why=repr(e))

    def obey(self):
        """Does what was commanded meanwhile; False to end."""
        while True:
            try:
                command = self.commands.get(block=self.held)
            except queue.Empty:
                return True
            if command == "hold":
                self.held = True
                self.emit("held")
            elif command == "go":
                self.held = False
            elif command == "commit":
                self.commit(list(self.read))
            else:
                return False

    def take(self, topic, partition, offset, value):
        p = f"{topic}-{partition}"
        self.emit("polled", p=p, o=offset, v=value.decode())
        self.read[p] = offset + 1

    def commit(self, partitions):
        offsets = {p: self.read[p] for p in partitions if p in self.read}
        if not offsets:
            return
        try:
            self.commit_sync(offsets)
        except Exception as e:  # noqa: BLE001 - the test knows which are due
            self.emit("refused", os=offsets, why=repr(e))
            return
        for p in offsets:
            del self.read[p]
        self.emit("committed", os=offsets)

    def assigned(self, partitions):
        self.emit("assigned", ps=names(partitions))

    def revoked(self, partitions):
        self.commit(names(partitions))
        self.emit("revoked", ps=names(partitions))

    def lost(self, partitions):
        for p in names(partitions):
            self.read.pop(p, None)
        self.emit("lost", ps=names(partitions))

    def open(self):
        o = self.options
        config = {
            "bootstrap.servers": self.bootstrap, "client.id": self.name, "group.id": o["group"],
            "auto.offset.reset": "earliest", "enable.auto.commit": False, "topic.metadata.refresh.interval.ms": 1000,
            "fetch.wait.max.ms": 100,
        }
        if o["protocol"] == "consumer":
            config["group.protocol"] = "consumer"
            optional = {"group.remote.assignor": "assignor"}
        else:
            config["partition.assignment.strategy"] = {"cooperative": "cooperative-sticky"}.get(o["protocol"], "range")
            optional = {"session.timeout.ms": "session", "heartbeat.interval.ms": "heartbeat"}
        optional.update({"group.instance.id": "instance", "max.poll.interval.ms": "maxpoll"})
        config.update({key: o[option] for key, option in optional.items() if option in o})
        self.consumer = Consumer(config)
        self.consumer.subscribe(
            [o["pattern"]] if "pattern" in o else o["topics"].split(","),
            on_assign=lambda _, ps: self.assigned(ps), on_revoke=lambda _, ps: self.revoked(ps),
            on_lost=lambda _, ps: self.lost(ps))

    def poll(self):
        # What is there is taken without another look at the commands, one by one: consume() may call back in the middle
        # of a batch.
        wait = POLL
        for _ in range(100):
            message = self.consumer.poll(wait)
            if message is None:
                return
            if not message.error():
                self.take(message.topic(), message.partition(), message.offset(), message.value())
            elif message.error().fatal() or message.error().code() == KafkaError._FATAL:
                raise RuntimeError(message.error())
            else:
                self.emit("error", why=str(message.error()))
            wait = 0

    def commit_sync(self, offsets):
        answer = self.consumer.commit(
            offsets=[TopicPartition(*split(p), offset) for p, offset in offsets.items()], asynchronous=False)
        for p in answer:
            if p.error:
                raise KafkaException(p.error)

    def close(self):
        self.consumer.close()


def names(partitions):
    return sorted(f"{p.topic}-{p.partition}" for p in partitions)


def split(name):
    topic, _, partition = name.rpartition("-")
    return topic, int(partition)


def main():
    members = {}
    for line in sys.stdin:
        verb, key, *words = line.split()
        if verb == "open":
            members[key] = Member(sys.argv[1], dict(w.split("=", 1) for w in words))
        else:
            members[key].commands.put(verb)


main()
