#!/usr/bin/env python3
"""umbra-initiator against umbra-arrayd: what is acknowledged stays through the array's restarts, and where it cannot, the
file fails instead of pretending.

usage: initiator.py [CASE...] BIN_DIRECTORY
Exit code: 0 all held, 1 not, 77 not root or no FUSE.
"""
import argparse
import errno
import mmap
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from world import Failed, World, can_run, kill_now, wait_until  # noqa: E402

REGION = 4 << 20
PIECE = 256 << 10
WRITERS = 6
ABSENT_PATIENCE_MS = 1000


def write(fd, data, at):
    """Through no cache: the memory is aligned for O_DIRECT."""
    with mmap.mmap(-1, len(data)) as memory:
        memory[:] = data
        if os.pwritev(fd, [memory], at) != len(data):
            raise Failed("a short write")


def read(fd, size, at):
    with mmap.mmap(-1, size) as memory:
        if os.preadv(fd, [memory], at) != size:
            raise Failed("a short read")
        return memory[:]


class Wire:
    """The network between the initiator and the array: it can break."""

    def __init__(self, port):
        self.port, self.broken, self.sockets = port, False, []
        self.budget = None  # bytes towards the array before it breaks
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.portal = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.port))
            except OSError:
                near.close()
                continue
            with self.lock:
                if self.broken:
                    near.close()
                    far.close()
                    continue
                self.sockets += [near, far]
            for ends in ((near, far, True), (far, near, False)):
                threading.Thread(target=self._pump, args=ends, daemon=True).start()

    def _pump(self, source, sink, counted):
        try:
            while data := source.recv(1 << 16):
                if counted and self.budget is not None:
                    self.budget -= len(data)
                    if self.budget < 0:
                        self.cut()
                        break
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        with self.lock:
            self.broken = True
            for end in self.sockets:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            self.sockets = []

    def mend(self):
        with self.lock:
            self.broken, self.budget = False, None

    def close(self):
        self.cut()
        self.listener.close()


class Setup:
    def __init__(self, bin_directory):
        self.world = World(bin_directory, hosts=(), drives=3, drive_mib=512)
        self.process = self.target = None
        self.wire = Wire(self.world.port)
        self.iqn = "iqn.2026-01.test.umbra:initiator"
        self.log = os.path.join(self.world.directory, "initiator.log")
        self.file = os.path.join(self.world.directory, "db.lun")
        try:
            self.world.umbra("lun", "create", "db", "--size", "96M", "--type", "mirror")
            self.world.umbra("mask", "add", "db", "--initiator", self.iqn)
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self):
        with open(self.file, "ab"):
            pass
        self.target = self.target or self.world.json("lun", "show", "db")["masks"][0]["target_iqn"]
        reader, writer = os.pipe()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.world.program("umbra-initiator"), "--url", f"iscsi://{self.wire.portal}/{self.target}/1", "--file",
                 self.file, "--initiator", self.iqn, "--ready-fd", str(writer), "--absent-patience-ms",
                 str(ABSENT_PATIENCE_MS)], stdout=log, stderr=log, stdin=subprocess.DEVNULL, pass_fds=[writer])
        os.close(writer)
        with os.fdopen(reader) as answer:
            line = answer.readline()
        if line != "ready\n":
            raise Failed("umbra-initiator: " + line)
        # Above a loop device, as ever: the kernel lets one write at a time to a file.
        self.device = self.world.run("losetup", "--direct-io=on", "--find", "--show", self.file)[1].strip()

    def stats(self):
        text = os.getxattr(self.file, "user.umbra.stats").decode()
        return {name: int(value) for name, value in (item.split("=") for item in text.split())}

    def open(self):
        return os.open(self.device, os.O_RDWR | os.O_DIRECT)

    def end(self):
        """Unmounts; the initiator must end by itself, with success."""
        self.world.run("losetup", "--detach", self.device, check=False)
        wait_until("the file is unmounted", lambda: subprocess.run(
            ["umount", self.file], check=False, stderr=subprocess.DEVNULL).returncode == 0 or
            not os.path.ismount(self.file))
        status = self.process.wait(60)
        self.process = None
        if status != 0:
            raise Failed(f"umbra-initiator ended with {status}")

    def close(self):
        self.wire.close()
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        subprocess.run(["umount", "--lazy", self.file], check=False, stderr=subprocess.DEVNULL)
        if os.path.exists(self.log):
            with open(self.log, encoding="utf-8", errors="replace") as log:
                self.output = log.read()
        self.world.clean_up()


class Writers:
    """Each writes and reads a region of its own, until told to stop."""

    def __init__(self, setup, flushing):
        self.setup, self.flushing = setup, flushing
        self.stop, self.errors, self.counts = False, [], [0] * WRITERS
        self.models = [bytearray(REGION) for _ in range(WRITERS)]
        self.threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(WRITERS)]
        for thread in self.threads:
            thread.start()

    def _run(self, number):
        chance = random.Random(number)
        fd = self.setup.open()
        model, base = self.models[number], number * REGION
        try:
            while not self.stop:
                size = 512 * chance.randint(1, 256 if chance.random() < 0.2 else 16)
                at = 512 * chance.randrange((REGION - size) // 512)
                data = chance.randbytes(size)
                write(fd, data, base + at)
                model[at:at + size] = data
                if chance.random() < 0.3 and read(fd, size, base + at) != data:
                    raise Failed(f"another content at {base + at}")
                if self.flushing and chance.random() < 0.05:
                    os.fsync(fd)
                self.counts[number] += 1
        except (OSError, Failed) as error:
            self.errors.append(str(error))
        finally:
            os.close(fd)

    def progress(self):
        before = list(self.counts)
        wait_until("every writer goes on", lambda: all(now > was + 3 for now, was in zip(self.counts, before)) or
                   self.errors, 60)
        if self.errors:
            raise Failed(self.errors[0])

    def join(self):
        self.stop = True
        for thread in self.threads:
            thread.join(60)
            if thread.is_alive():
                raise Failed("a write never ends")
        if self.errors:
            raise Failed(self.errors[0])

    def compare(self):
        fd = self.setup.open()
        try:
            for number, model in enumerate(self.models):
                for at in range(0, REGION, PIECE):
                    if read(fd, PIECE, number * REGION + at) != model[at:at + PIECE]:
                        raise Failed(f"region {number} is not as it was written")
        finally:
            os.close(fd)


def restart_under_load(setup):
    """An orderly stop logs every session out: nothing may hang, nothing may fail."""
    writers = Writers(setup, True)
    for _ in range(4):
        writers.progress()
        setup.world.stop_array()
        setup.world.start_array()
    writers.progress()
    writers.join()
    writers.compare()
    if setup.stats()["errors"] != 0 or setup.stats()["reconnects"] == 0:
        raise Failed(str(setup.stats()))
    setup.end()


def kill_under_load(setup):
    """kill -9 with writes that were acknowledged and never flushed: they are all there afterwards."""
    writers = Writers(setup, False)
    for _ in range(3):
        writers.progress()
        kill_now(setup.world.array_process.pid)
        setup.world.array_process.wait()
        setup.world.start_array()
    writers.progress()
    kill_now(setup.world.array_process.pid)
    setup.world.array_process.wait()
    writers.stop = True
    setup.world.start_array()
    writers.join()
    fd = setup.open()
    os.fsync(fd)
    os.close(fd)
    if setup.stats()["rewritten"] == 0 or setup.stats()["unflushed"] != 0:
        raise Failed("nothing was written again: " + str(setup.stats()))
    setup.end()
    # Whoever looks afterwards sees it too.
    kill_now(setup.world.array_process.pid)
    setup.world.array_process.wait()
    setup.world.start_array()
    setup.start()
    writers.compare()
    setup.end()


def lost_session_alone(setup):
    """The network breaks and the array goes on: nothing was lost, so nothing is written a second time."""
    writers = Writers(setup, False)
    writers.progress()
    setup.wire.cut()
    setup.wire.mend()
    writers.progress()
    writers.join()
    writers.compare()
    if setup.stats()["reconnects"] == 0 or setup.stats()["rewritten"] != 0:
        raise Failed(str(setup.stats()))
    setup.end()


def cut_while_rewriting(setup):
    """The network breaks in the middle of what is written again after a kill, more than once: nothing is left out."""
    pieces = {at: os.urandom(256 << 10) for at in range(0, 16 << 20, 256 << 10)}
    fd = setup.open()
    for at, data in pieces.items():
        write(fd, data, at)
    kill_now(setup.world.array_process.pid)
    setup.world.array_process.wait()
    setup.wire.budget = 1 << 20
    setup.world.start_array()
    for budget in (3 << 20, 5 << 20):
        wait_until("the network broke", lambda: setup.wire.broken)
        if setup.stats()["rewritten"] == 0:
            raise Failed("it broke before anything was written again: " + str(setup.stats()))
        with setup.wire.lock:
            setup.wire.broken, setup.wire.budget = False, budget
    wait_until("the network broke", lambda: setup.wire.broken)
    setup.wire.mend()
    os.fsync(fd)
    os.close(fd)
    setup.end()
    kill_now(setup.world.array_process.pid)
    setup.world.array_process.wait()
    setup.world.start_array()
    setup.start()
    fd = setup.open()
    for at, data in pieces.items():
        if read(fd, len(data), at) != data:
            raise Failed(f"what was acknowledged at {at} is gone")
    os.close(fd)
    setup.end()


def fails(call):
    try:
        call()
    except OSError as error:
        return error.errno == errno.EIO
    return False


def replaced_content(setup):
    """While the host was away its LUN was resynchronised: what it holds belongs to another content."""
    fd = setup.open()
    write(fd, b"old " * 1024, 0)
    os.fsync(fd)
    setup.world.umbra("snapshot", "create", "db", "--name", "before")
    write(fd, b"new " * 1024, 0)
    os.fsync(fd)
    write(fd, b"late" * 1024, 4096)
    setup.wire.cut()
    wait_until("the session is gone", lambda: setup.stats()["connected"] == 0)
    held = threading.Thread(target=lambda: results.append(fails(lambda: write(fd, b"held" * 1024, 8192))))
    results = []
    held.start()
    wait_until("a write waits", lambda: setup.stats()["in_flight"] > 0)
    wait_until("the array knows", lambda: not setup.world.json("session", "list"))
    setup.world.umbra("lun", "resync", "db", "--from", "db@before", "--wait")
    setup.wire.mend()
    held.join(60)
    if results != [True]:
        raise Failed("a write went to a content that it was not meant for")
    if not fails(lambda: os.fsync(fd)) or not fails(lambda: read(fd, 4096, 0)):
        raise Failed("the file goes on")
    os.close(fd)
    setup.end()
    setup.start()
    fd = setup.open()
    if read(fd, 12288, 0) != b"old " * 1024 + bytes(8192):
        raise Failed("the restored content was written to")
    os.close(fd)
    setup.end()


def taken_away(setup):
    """The LUN was withdrawn from this host while it was away: its requests fail, and none is sent."""
    fd = setup.open()
    setup.wire.cut()
    wait_until("the session is gone", lambda: setup.stats()["connected"] == 0)
    results = []
    held = threading.Thread(target=lambda: results.append(fails(lambda: write(fd, b"held" * 1024, 0))))
    held.start()
    wait_until("a write waits", lambda: setup.stats()["in_flight"] > 0)
    wait_until("the array knows", lambda: not setup.world.json("session", "list"))
    setup.world.umbra("mask", "remove", "db", "--initiator", setup.iqn)
    setup.wire.mend()
    held.join(60)
    if results != [True]:
        raise Failed("no error")
    os.close(fd)
    setup.end()


def aborted(setup):
    """The file is aborted from outside while the array hangs: not one byte more goes out, and the process ends well."""
    fd = setup.open()
    write(fd, b"\1" * 4096, 0)
    os.fsync(fd)
    os.kill(setup.world.array_process.pid, signal.SIGSTOP)
    results = []
    threads = [threading.Thread(target=lambda n=n: results.append(fails(
        lambda: write(fd, bytes([n + 2]) * PIECE, (n + 1) << 20)))) for n in range(12)]
    try:
        for thread in threads:
            thread.start()
        wait_until("writes wait", lambda: setup.stats()["in_flight"] >= 12)
        connection = os.minor(os.stat(setup.file).st_dev)
        subprocess.run(["mount", "-t", "fusectl", "fusectl", "/sys/fs/fuse/connections"], check=False,
                       stderr=subprocess.DEVNULL)
        with open(f"/sys/fs/fuse/connections/{connection}/abort", "w", encoding="ascii") as abort:
            abort.write("1")
        for thread in threads:
            thread.join(60)
            if thread.is_alive():
                raise Failed("a write hangs")
    finally:
        os.kill(setup.world.array_process.pid, signal.SIGCONT)
    try:
        os.close(fd)
    except OSError:
        pass
    setup.end()
    setup.start()
    fd = setup.open()
    for n in range(12):
        for at in range((n + 1) << 20, (n + 2) << 20, PIECE):
            if set(read(fd, PIECE, at)) - {0, n + 2}:
                raise Failed("bytes that nobody wrote")
    os.close(fd)
    setup.end()


CASES = {case.__name__: case for case in (restart_under_load, kill_under_load, lost_session_alone, cut_while_rewriting,
                                          replaced_content, taken_away, aborted)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arguments", nargs="+")
    *names, directory = parser.parse_args().arguments
    if not can_run():
        print("SKIP: needs root, /dev/fuse and loop devices")
        return 77
    failed = 0
    for name in names or CASES:
        setup = Setup(directory)
        try:
            CASES[name](setup)
            print(f"{name}: held", flush=True)
        except Exception:
            failed += 1
            print(f"{name}: FAILED", flush=True)
            traceback.print_exc()
            setup.world.print_logs()
            setup.close()
            print(setup.output[-6000:])
        finally:
            setup.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
