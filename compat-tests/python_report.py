"""What the Python client programs share: their arguments, their records, and how they report."""

import sys
import traceback

RECORDS = 60
FILLER = "x" * 200


def arguments():
    """BOOTSTRAP PREFIX PHASE, as (bootstrap, topic, group, whether it is the second phase)."""
    bootstrap, prefix, phase = sys.argv[1:]
    return bootstrap, prefix + "-topic", prefix + "-group", phase == "second"


def scenario(name, run):
    """Runs one scenario and prints its verdict. The first failure ends the program."""
    try:
        run()
    except BaseException as e:  # noqa: BLE001 - whatever it was, it is the verdict
        traceback.print_exc()
        print(f"fail {name}: {e!r}", flush=True)
        sys.exit(1)
    print("ok", name, flush=True)


def record(tag, i):
    """The i-th record of a producing scenario."""
    return f"{tag}-{i}", f"{tag}:{i}:{FILLER}"


class Seen(set):
    """The keys of the records that have been read."""

    def take(self, key, value, codec):
        assert value == key.replace("-", ":", 1) + ":" + FILLER, f"the value of {key} is {value}"
        assert codec, f"{key} has no header"
        assert key not in self, f"{key} came twice"
        self.add(key)

    def equal(self, written):
        assert self == set(written), f"{len(self)} records were read, {len(written)} written"
