"""Stands between Umbra's processes and numbers what passes: the steps of a phase.

A step is one message, held until whoever watches has done what it wanted to do at that instant. So "kill -9 when the
provider has answered CommitSnapshots, before the coordinator hears of it" is a point that every run meets.

Channels: "vss" (requester to umbra-hostd), "provider" (umbra-hostd to umbra-provider-host), "array" (management of the
array), "freezer" (umbra-hostd to umbra-freezer). The first three are gRPC, the last one packets of text. The two
programs that umbra-hostd starts with a descriptor are started through a script beside it that hands the descriptor
to us first (exec keeps their process id).
"""
import array
import os
import select
import socket
import threading
import time
from dataclasses import dataclass

from http2 import Calls

WRAPPER = """#!/usr/bin/python3 -SE
import array, os, socket, sys
numbers = [i for i, word in enumerate(sys.argv) if word == "{option}"]
number = int(sys.argv[numbers[0] + 1])
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.{kind})
to = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
to.connect("{control}")
to.sendmsg([b"{channel}"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [number, theirs.fileno()]))])
to.recv(1)
os.dup2(ours.fileno(), number, inheritable=True)
os.execv("{program}", ["{program}"] + sys.argv[1:])
"""
# What repeats for as long as something takes, or runs beside the phase: no steps.
POLLS = ("QueryOperation", "WaitOperation", "QueryAsync", "Ping", "WatchEvents", "GetTask", "WaitTask")


@dataclass(frozen=True)
class Step:
    host: str  # "a", "b", … whose channel
    channel: str
    method: str
    kind: str  # "request" or "reply"
    count: int  # the how manieth of this kind since the counting began

    def __str__(self):
        return f"{self.host}:{self.channel}.{self.method}.{self.kind}#{self.count}"


def _close(*sockets):
    for one in sockets:
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


class Relay:
    def __init__(self, directory):
        self.directory = directory
        self._lock = threading.Lock()
        self._counts = {}
        self._watch = None
        self.steps = []  # (seconds, Step) since begin()
        self._begun = time.monotonic()
        self._listeners = []

    # --- Steps ------------------------------------------------------------------------------------------------------

    def begin(self, watch=None):
        """Counts from one again. `watch(step)` is called at every step, which waits for it."""
        with self._lock:
            self._counts = {}
            self.steps = []
            self._begun = time.monotonic()
            self._watch = watch

    def end(self):
        with self._lock:
            self._watch = None
            return list(self.steps)

    def _step(self, host, channel, method, kind):
        if method in POLLS:
            return
        with self._lock:
            key = (host, channel, method, kind)
            self._counts[key] = self._counts.get(key, 0) + 1
            step = Step(host, channel, method, kind, self._counts[key])
            self.steps.append((time.monotonic() - self._begun, step))
            if self._watch is not None:
                self._watch(step)

    # --- Sockets ----------------------------------------------------------------------------------------------------

    def listen(self, path, upstream, host, channel):
        """gRPC on a unix socket: `path` is where clients connect, `upstream` where the daemon listens."""
        server = socket.socket(socket.AF_UNIX)
        server.bind(path)
        server.listen(64)
        self._listeners.append(server)

        def accept():
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                daemon = socket.socket(socket.AF_UNIX)
                try:
                    daemon.connect(upstream)
                except OSError:
                    client.close()
                    daemon.close()
                    continue
                self._pump_calls(client, daemon, host, channel)
        threading.Thread(target=accept, daemon=True).start()

    def wrap(self, directory, name, program, host, channel, option, kind):
        """Makes `directory/name`, which starts `program` with the descriptor behind `option` led through us."""
        control = os.path.join(self.directory, f"{host}-{channel}.control")
        server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        server.bind(control)
        server.listen(8)
        self._listeners.append(server)
        path = os.path.join(directory, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(WRAPPER.format(option=option, kind=kind, control=control, channel=channel, program=program))
        os.chmod(path, 0o755)

        def accept():
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=take, args=(client,), daemon=True).start()

        def take(client):
            numbers = array.array("i")
            try:
                _, ancillary, _, _ = client.recvmsg(64, socket.CMSG_SPACE(2 * numbers.itemsize))
                for level, kind_of, data in ancillary:
                    if level == socket.SOL_SOCKET and kind_of == socket.SCM_RIGHTS:
                        numbers.frombytes(data)
                client.send(b"+")
            except OSError:
                pass
            client.close()
            if len(numbers) != 2:
                for number in numbers:
                    os.close(number)
                return
            parent, child = (socket.socket(fileno=number) for number in numbers)
            parent.setblocking(True)
            child.setblocking(True)
            if kind == "SOCK_SEQPACKET":
                self._pump_packets(parent, child, host, channel)
            else:
                self._pump_calls(parent, child, host, channel)
        threading.Thread(target=accept, daemon=True).start()

    def _pump_calls(self, client, server, host, channel):
        calls = Calls()
        lock = threading.Lock()  # of `calls`

        def pump(source, target, direction):
            try:
                while True:
                    data = source.recv(65536)
                    if not data:
                        break
                    with lock:
                        parts = list(calls.feed(direction, data))
                    for part, method in parts:
                        if method is not None:
                            self._step(host, channel, method, direction)
                        target.sendall(part)
            except OSError:
                pass
            _close(source, target)
        self._both(client, server, pump)

    def _pump_packets(self, client, server, host, channel):
        def pump(source, target, direction):
            try:
                while True:
                    # Only readiness: who waits in recv() for ever would keep the end of the peer from being seen.
                    select.select([source], [], [])
                    data = source.recv(4096)
                    if not data:
                        break
                    self._step(host, channel, data.split(b" ", 1)[0].decode("latin-1"), direction)
                    target.send(data)
            except (OSError, ValueError):
                pass
            _close(source, target)
        self._both(client, server, pump)

    @staticmethod
    def _both(client, server, pump):
        threads = [threading.Thread(target=pump, args=arguments, daemon=True)
                   for arguments in ((client, server, "request"), (server, client, "reply"))]

        def finish():
            for thread in threads:
                thread.join()
            client.close()
            server.close()
        for thread in threads:
            thread.start()
        threading.Thread(target=finish, daemon=True).start()

    def close(self):
        for server in self._listeners:
            _close(server)
            server.close()
