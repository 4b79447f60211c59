#!/usr/bin/env python3
"""A writer whose files say themselves whether they are right, and the checks of what it wrote.

File SLOT holds entry number N, N mod SLOTS = SLOT: a line with N, length and checksum, and the data. It is replaced in one step,
after its content is on disk; only when the directory is on disk too is N added to the log: acknowledged.
So at every instant the file system holds the newest SLOTS entries up to some N, without a gap.

usage: workload.py write DIRECTORY LOG
"""
import hashlib
import os
import random
import subprocess
import sys
import time

SLOTS = 48
_PART = "part"


def content(number):
    source = random.Random(number)
    data = source.randbytes(source.randrange(100, 40000))
    return f"{number} {len(data)} {hashlib.sha256(data).hexdigest()}\n".encode() + data


def write(directory, log_path):
    acknowledged = last(log_path)
    with open(log_path, "a", encoding="ascii") as log:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        number = acknowledged
        while True:
            number += 1
            part = os.path.join(directory, _PART)
            with open(part, "wb") as file:
                file.write(content(number))
                file.flush()
                os.fsync(file.fileno())
            os.rename(part, os.path.join(directory, f"s{number % SLOTS}"))
            os.fsync(handle)
            log.write(f"{number}\n")
            log.flush()
            time.sleep(0.01)


def last(log_path):
    """The last number in the log; 0 before the first."""
    try:
        with open(log_path, encoding="ascii") as log:
            lines = log.read().split("\n")
    except FileNotFoundError:
        return 0
    return int(lines[-2]) if len(lines) > 1 else 0


class Wrong(Exception):
    """What is on a file system is not what has to be there."""


def read_entries(directory):
    """Number by slot; every byte compared."""
    found = {}
    for name in os.listdir(directory):
        if name == _PART or not name.startswith("s"):
            continue
        with open(os.path.join(directory, name), "rb") as file:
            data = file.read()
        try:
            number = int(data.split(b" ", 1)[0])
        except ValueError:
            raise Wrong(f"{directory}/{name} does not begin with its number") from None
        if data != content(number):
            raise Wrong(f"{directory}/{name} is not entry {number} as it was written")
        found[name] = number
    return found


def check_entries(directory, at_least, at_most):
    """One instant of the writer, not before entry `at_least`, not after `at_most`. Returns its newest entry."""
    found = read_entries(directory)
    newest = max(found.values(), default=0)
    expected = {f"s{number % SLOTS}": number for number in range(max(1, newest - SLOTS + 1), newest + 1)}
    if found != expected:
        wrong = {name: (found.get(name), number) for name, number in expected.items() if found.get(name) != number}
        raise Wrong(f"{directory} is no instant of its writer: newest {newest}; slot: (found, wanted) {wrong}")
    if not at_least <= newest <= at_most:
        raise Wrong(f"{directory} ends with entry {newest}, not with one of {at_least} to {at_most}")
    return newest


def check_frozen(device):
    """The file system was clean at the instant of the copy: nothing in its journal, no error in its structure."""
    header = subprocess.run(["dumpe2fs", "-h", device], capture_output=True, text=True, check=False)
    if header.returncode != 0:
        raise Wrong(f"no superblock on {device}: {header.stderr}")
    if "needs_recovery" in header.stdout:
        raise Wrong(f"{device}: the file system was not frozen when the copy was taken")
    check_structure(device)


def check_structure(device):
    done = subprocess.run(["e2fsck", "-fn", device], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Wrong(f"e2fsck of {device}: {done.returncode}\n{done.stdout[-2000:]}")


MARKER_BYTES = 300_000


def write_marker(path, seed):
    """Left in the page cache: only a file system that is written back before the copy has it there."""
    with open(path, "wb") as file:
        file.write(random.Random(seed).randbytes(MARKER_BYTES))


def check_marker(path, seed):
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise Wrong(f"{path}: {error}") from None
    if data != random.Random(seed).randbytes(MARKER_BYTES):
        raise Wrong(f"{path} ({len(data)} bytes) was written before the copy, but is not in it")


class Writer:
    """The writer as a process of `world`."""

    def __init__(self, world, directory, name="writer"):
        self.world, self.directory = world, directory
        self.log = os.path.join(world.directory, name + ".log.numbers")
        self.process = None

    def start(self):
        self.process = subprocess.Popen([sys.executable, os.path.abspath(__file__), "write", self.directory, self.log],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        cwd="/", text=True)
        self.world.children.append(self.process)

    def acknowledged(self):
        return last(self.log)

    def reset(self, number):
        """The volume holds entry `number` as its newest again: the next one follows it."""
        with open(self.log, "w", encoding="ascii") as log:
            log.write(f"{number}\n")

    def running(self):
        return self.process is not None and self.process.poll() is None

    def progresses(self, count=3, limit_s=30):
        """Whether `count` more entries are acknowledged in time."""
        wanted = self.acknowledged() + count
        end = time.monotonic() + limit_s
        while time.monotonic() < end and self.running():
            if self.acknowledged() >= wanted:
                return True
            time.sleep(0.01)
        return False

    def stop(self):
        """Killed in the middle of whatever it does: only what it acknowledged counts."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stderr.close()
            self.world.children.remove(self.process)
            self.process = None


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] != "write":
        sys.exit(__doc__)
    write(sys.argv[2], sys.argv[3])
