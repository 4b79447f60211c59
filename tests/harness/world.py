"""An array and its hosts as real processes, in a temporary directory, with everything cleaned up by id at the end.

World      the directory, the array, the hosts; clean_up() also after a failure
Host       one umbra-hostd with what it attaches and mounts
"""
import glob
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time

from relay import Relay

ROOT_ONLY = "needs root, /dev/fuse and loop devices"
COMMAND_LIMIT_S = 120


class Failed(Exception):
    """A check did not hold, or a command that had to succeed did not."""


def can_run():
    return os.geteuid() == 0 and os.path.exists("/dev/fuse") and os.path.exists("/dev/loop-control")


def wait_until(what, holds, limit_s=30.0, pause_s=0.05):
    end = time.monotonic() + limit_s
    while True:
        value = holds()
        if value:
            return value
        if time.monotonic() >= end:
            raise Failed(f"not within {limit_s:g} s: {what}")
        time.sleep(pause_s)


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="latin-1") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def kill_now(pid):
    """SIGKILL, and back when nothing of it runs any more."""
    os.kill(pid, signal.SIGKILL)
    wait_until(f"process {pid} is dead", lambda: not is_alive(pid), 20, 0.001)


def _processes():
    for entry in glob.glob("/proc/[0-9]*"):
        try:
            with open(entry + "/cmdline", "rb") as file:
                yield int(entry[6:]), file.read().decode("utf-8", "replace").split("\0")
        except OSError:
            pass


def mounts_below(directory):
    with open("/proc/self/mounts", encoding="utf-8") as file:
        points = [line.split(" ")[1].replace("\\040", " ") for line in file]
    return [point for point in points if point.startswith(directory + "/")]


def loops_below(directory):
    found = {}
    for path in glob.glob("/sys/block/loop*/loop/backing_file"):
        try:
            with open(path, encoding="utf-8") as file:
                backing = file.read().strip()
        except OSError:
            continue
        if backing.startswith(directory + "/"):
            found["/dev/" + path.split("/")[3]] = backing
    return found


class Host:
    def __init__(self, world, name, limits):
        self.world, self.name = world, name
        self.directory = os.path.join(world.directory, name)
        self.bin = os.path.join(self.directory, "bin")
        self.process = None
        self.socket = os.path.join(self.directory, "host.sock")
        self.requests = os.path.join(self.directory, "vss.sock")  # the same through the relay
        self.log = os.path.join(self.directory, "hostd.log")
        self.iqn = f"iqn.2025-01.org.umbra:host-{name}"
        os.makedirs(self.bin)
        # umbra-hostd looks for its programs beside itself: there stand ours, which lead through the relay.
        self.program = os.path.join(self.bin, "umbra-hostd")
        shutil.copyfile(world.program("umbra-hostd"), self.program)
        os.chmod(self.program, 0o755)
        os.symlink(world.program("umbra-initiator"), os.path.join(self.bin, "umbra-initiator"))
        array_socket = os.path.join(self.directory, "array.sock")
        world.relay.listen(array_socket, world.array_socket, name, "array")
        world.relay.listen(self.requests, self.socket, name, "vss")
        world.relay.wrap(self.bin, "umbra-provider-host", world.program("umbra-provider-host"), name, "provider",
                         "--channel", "SOCK_STREAM")
        world.relay.wrap(self.bin, "umbra-freezer", world.program("umbra-freezer"), name, "freezer", "--socket",
                         "SOCK_SEQPACKET")
        self.config = os.path.join(self.directory, "host.toml")
        self.provider = {"library": world.library("libumbra-hwprv.so"), "arrays": ["unix:array.sock"]}
        self.limits = {"arrival_ms": 15000, **(limits or {})}
        self.safe_mode = False
        self.write_config()

    def write_config(self):
        provider = "".join(f"{key} = {json.dumps(value)}\n" for key, value in self.provider.items()
                           if not isinstance(value, dict))
        environment = ", ".join(f"{key} = {json.dumps(value)}"
                                for key, value in self.provider.get("environment", {}).items())
        limits = "".join(f"{key} = {value}\n" for key, value in self.limits.items())
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(f'[hostd]\nmachine = "host-{self.name}"\nsocket = "host.sock"\nstate = "state"\nrun = "run"\n'
                       f'devices = "dev"\nsafe_mode = {str(self.safe_mode).lower()}\n'
                       f'[array]\naddress = "unix:array.sock"\n'
                       f'[iscsi]\ninitiator = "{self.iqn}"\nportals = ["127.0.0.1:{self.world.port}"]\n'
                       f'[limits]\n{limits}[[provider]]\n{provider}environment = {{{environment}}}\n')

    def start(self):
        with open(self.log, "ab") as log:
            begin = log.tell()
            self.process = subprocess.Popen([self.program, "--config", self.config], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, env=self.world.environment)
        def ready():
            if self.process.poll() is not None:
                raise Failed(f"umbra-hostd of {self.name} ended: {self.tail()}")
            with open(self.log, "rb") as log:
                log.seek(begin)
                return b" ready" in log.read()
        wait_until(f"umbra-hostd of {self.name} is ready", ready, 90)

    def stop(self):
        self.process.terminate()
        status = self.process.wait(60)
        if status != 0:
            raise Failed(f"umbra-hostd of {self.name} ended with {status}: {self.tail()}")
        self.process = None

    def tail(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()[-2000:]

    def run(self, *command, relayed=False, **options):
        environment = {"UMBRA_HOST": "unix:" + (self.requests if relayed else self.socket)}
        return self.world.run(*command, environment=environment, **options)

    def diskshadow(self, script, *parameters, **options):
        """Returns (exit code, output). The requester's calls pass through the relay."""
        path = os.path.join(self.directory, "script.dsh")
        with open(path, "w", encoding="utf-8") as file:
            file.write(script)
        return self.run(self.world.program("diskshadow"), "/s", path, *parameters, relayed=True, check=False, **options)

    def umbra(self, *arguments, **options):
        return self.run(self.world.program("umbra"), *arguments, **options)

    def attached(self):
        return json.loads(self.umbra("volume", "attached", "--json")[1])

    def provider_pid(self):
        for pid, command in _processes():
            if command[0] == self.world.program("umbra-provider-host") and self._is_child(pid):
                return pid
        return None

    def freezer_pid(self):
        for pid, command in _processes():
            if command[0] == self.world.program("umbra-freezer") and any(
                    word.startswith(self.directory + "/") for word in command):
                return pid
        return None

    def initiators(self):
        """Process ids by the file that each serves."""
        found = {}
        for pid, command in _processes():
            if command[0].endswith("/umbra-initiator") and is_alive(pid):
                for option, value in zip(command, command[1:]):
                    if option == "--file" and value.startswith(self.directory + "/"):
                        found[value] = pid
        return found

    def initiator_pid(self, lun_key):
        for file, pid in self.initiators().items():
            if lun_key in file:
                return pid
        return None

    def _is_child(self, pid):
        try:
            with open(f"/proc/{pid}/stat", encoding="latin-1") as file:
                return self.process is not None and int(file.read().rsplit(")", 1)[1].split()[1]) == self.process.pid
        except OSError:
            return False

    def state(self):
        """(sets, intents) of the host's state, undecoded. The daemon holds the file exclusively: a copy is read."""
        with tempfile.TemporaryDirectory(dir=self.directory) as copy:
            for name in glob.glob(os.path.join(self.directory, "state", "state.db*")):
                shutil.copy(name, copy)
            database = sqlite3.connect(os.path.join(copy, "state.db"))
            try:
                counts = [database.execute(f"select count(*) from {table}").fetchone()[0]
                          for table in ("sets", "intents")]
            finally:
                database.close()
        return tuple(counts)


class World:
    def __init__(self, bin_directory, hosts=("a",), drives=6, drive_mib=512, limits=None, keep=False):
        self.bin_directory = os.path.abspath(bin_directory)
        self.keep = keep
        self.directory = os.path.realpath(tempfile.mkdtemp(prefix="umbra-world."))
        self.environment = {**os.environ}
        for name in ("UMBRA_HOST", "UMBRA_ARRAY"):
            self.environment.pop(name, None)
        self.children = []
        self.array_process = None
        self.hosts = {}
        try:
            self._make(hosts, drives, drive_mib, limits)
        except BaseException:
            self.clean_up()
            raise

    def _make(self, hosts, drives, drive_mib, limits):
        self.relay = Relay(self.directory)
        directory = os.path.join(self.directory, "array")
        os.mkdir(directory)
        self.array_socket = os.path.join(directory, "array.sock")
        self.array_config = os.path.join(directory, "array.toml")
        self.array_log = os.path.join(directory, "arrayd.log")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.drives = [f"d{number}" for number in range(drives)]
        for drive in self.drives:
            with open(os.path.join(directory, drive), "wb") as file:
                file.truncate(drive_mib << 20)
        with open(self.array_config, "w", encoding="utf-8") as file:
            file.write(f'[array]\nname = "world"\ndrives = {json.dumps(self.drives)}\n'
                       f'[iscsi]\nlisten = ["127.0.0.1:{self.port}"]\n[management]\nsocket = "array.sock"\n')
        self.environment["UMBRA_ARRAY"] = "unix:" + self.array_socket
        self.umbra("array", "init", "--config", self.array_config)
        self.start_array()
        for name in hosts:
            self.hosts[name] = Host(self, name, limits)
            self.hosts[name].start()

    def __getattr__(self, name):
        if name in self.__dict__.get("hosts", {}):
            return self.hosts[name]
        raise AttributeError(name)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self.print_logs()
        self.clean_up()

    # --- Programs ---------------------------------------------------------------------------------------------------

    def program(self, name):
        return os.path.join(self.bin_directory, name)

    def library(self, name):
        return os.path.join(os.path.dirname(self.bin_directory), "lib", name)

    def run(self, *command, environment=None, check=True, limit_s=COMMAND_LIMIT_S, started=None):
        """Runs to the end; (exit code, output). `started(pid)` hears of the process."""
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                   env={**self.environment, **(environment or {})}, cwd=self.directory, text=True,
                                   errors="replace")
        if started is not None:
            started(process.pid)
        try:
            output = process.communicate(timeout=limit_s)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            output = process.communicate()[0]
            raise Failed(f"{' '.join(command)}: not done within {limit_s} s\n{output}") from None
        if check and process.returncode != 0:
            raise Failed(f"{' '.join(command)}: {process.returncode}\n{output}")
        return process.returncode, output

    def umbra(self, *arguments, **options):
        return self.run(self.program("umbra"), *arguments, **options)

    def json(self, *arguments):
        return json.loads(self.umbra(*arguments, "--json")[1])

    def start_array(self, *options):
        with open(self.array_log, "ab") as log:
            self.array_process = subprocess.Popen([self.program("umbra-arrayd"), "--config", self.array_config, *options],
                                                  stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.environment)
        self.umbra("array", "wait-ready", limit_s=90)

    def stop_array(self):
        self.array_process.terminate()
        status = self.array_process.wait(60)
        if status != 0:
            raise Failed(f"umbra-arrayd ended with {status}")
        self.array_process = None

    def print_logs(self):
        for path in sorted(glob.glob(self.directory + "/*/*.log") + glob.glob(self.directory + "/*/*/*/*.log")):
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read()
            if text:
                print(f"-- end of {path}\n{text[-6000:]}", flush=True)

    # --- The end ----------------------------------------------------------------------------------------------------

    def _ours(self):
        """Umbra's processes of this world: each knows the directory by an argument or its environment."""
        found = []
        for pid, command in _processes():
            if not os.path.basename(command[0]).startswith(("umbra", "diskshadow", "vds_", "vss_", "python")):
                continue
            text = "\0".join(command)
            try:
                with open(f"/proc/{pid}/environ", "rb") as file:
                    text += file.read().decode("utf-8", "replace")
            except OSError:
                continue
            if pid != os.getpid() and self.directory + "/" in text:
                found.append(pid)
        return found

    def clean_up(self):
        """By mount, by device, by process id; whatever state things are in."""
        def quietly(*command):
            try:
                subprocess.run(command, timeout=20, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
            except subprocess.TimeoutExpired:
                pass
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()
        for _ in range(2):
            for mount in reversed(mounts_below(self.directory)):
                if not mount.endswith(".lun"):
                    quietly("fsfreeze", "-u", mount)
                    quietly("umount", mount)
            for device in loops_below(self.directory):
                quietly("losetup", "--detach", device)
            for mount in reversed(mounts_below(self.directory)):
                quietly("umount", "--lazy", mount)
            for process in [host.process for host in self.hosts.values()] + [self.array_process]:
                if process is not None and process.poll() is None:
                    process.terminate()
            try:
                wait_until("processes end", lambda: not self._ours(), 5)
            except Failed:
                for pid in self._ours():
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except OSError:
                        pass
            for process in [host.process for host in self.hosts.values()] + [self.array_process]:
                if process is not None:
                    process.wait()
            if not mounts_below(self.directory) and not loops_below(self.directory):
                break
        if hasattr(self, "relay"):
            self.relay.close()
        if self.keep:
            print("kept: " + self.directory)
        else:
            shutil.rmtree(self.directory, ignore_errors=True)
