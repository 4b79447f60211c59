"""The three phases that are killed in, each with what must hold afterwards.

A phase: prepare(), command() (what is killed in), recovered() (after the restart of what died), settle() (repeat until it
succeeded, look at every byte, take everything back). World: host A has LUN db with ext4 and a writer, host B imports.
"""
import json
import os
import re
import subprocess
import time

import workload
from workload import Wrong
from world import Failed, loops_below, mounts_below, wait_until

TAKE = """set context persistent
{transportable}set metadata %DISKSH_PARAM_2%
add volume %DISKSH_PARAM_1% alias db
begin backup
create
end backup
"""
IMPORT = "load metadata %DISKSH_PARAM_1%\nimport\nexpose %db% %DISKSH_PARAM_2%\n"
EXPOSE = "load metadata %DISKSH_PARAM_1%\nexpose %db% %DISKSH_PARAM_2%\n"
DELETE = "load metadata %DISKSH_PARAM_1%\ndelete shadows set %VSS_SHADOW_SET%\n"
RESYNC = "load metadata %DISKSH_PARAM_1%\nadd shadow %db%\nresync\n"
REPEAT_LIMIT_S = 60


class Setup:
    """What a run starts from and must come back to."""

    def __init__(self, world):
        self.world, self.a, self.b = world, world.a, world.b
        self.mount = os.path.join(self.a.directory, "db")
        self.copy = os.path.join(self.b.directory, "copy")
        self.cab = os.path.join(world.directory, "set.cab")
        os.makedirs(self.copy)
        world.umbra("lun", "create", "db", "--size", "96M", "--type", "parity")
        self.a.umbra("attach", "db", "--mount", self.mount, "--mkfs", "ext4")
        self.key = world.json("lun", "show", "db")["naa"]
        self.writer = workload.Writer(world, self.mount)
        self.writer.start()
        self.marker = 0
        if not self.writer.progresses(workload.SLOTS + 5, 60):
            raise Failed("the writer does not get on")

    # --- Nothing frozen ---------------------------------------------------------------------------------------------

    def check_thawed(self):
        for host in (self.a, self.b):
            wait_until(f"no umbra-freezer of {host.name} is left", lambda one=host: one.freezer_pid() is None, 30)
            left = [name for name in os.listdir(os.path.join(host.directory, "run", "freeze"))
                    if name.endswith(".freeze")] if os.path.isdir(os.path.join(host.directory, "run", "freeze")) else []
            if left:
                raise Wrong(f"host {host.name} still has {left}")

    def wait_idle(self, host):
        """Nothing is being done on `host`. What a dead requester asked for last may begin late: it has to stay so."""
        quiet = 0
        def settled():
            nonlocal quiet
            status = json.loads(host.umbra("shadow", "status", "--json")[1])
            idle = (status["sessions"] == 0 and not status["creation_in_progress"] and host.state()[1] == 0 and
                    not any(one["running"] for one in status["operations"]))
            quiet = quiet + 1 if idle else 0
            return quiet >= 4
        try:
            wait_until(f"host {host.name} is idle", settled, 60, 0.2)
        except Failed:
            self.start_again(host)
            wait_until(f"host {host.name} is idle after another start", settled, 60, 0.2)

    def start_again(self, host):
        """What could not be taken back while the array was away is tried again when the service starts (docs/limits.md)."""
        print(f"note  umbra-hostd of {host.name} is restarted to take back what it could not: {host.state()}", flush=True)
        host.stop()
        host.start()

    def check_writes(self, limit_s=60):
        if not self.writer.progresses(3, limit_s):
            state = "it runs" if self.writer.running() else f"ended: {self.writer.process.stderr.read()[-500:]}"
            raise Wrong(f"the writer does not get on after the kill ({state})")

    def mount_again(self):
        """What an administrator does when the LUN's initiator was killed: its volume is gone until it is attached anew."""
        self.writer.stop()
        for point in reversed(mounts_below(self.a.directory)):
            if point == self.mount:
                subprocess.run(["umount", point], check=True, timeout=60)
        def detached():
            return self.a.umbra("detach", "db", check=False)[0] in (0, 3)
        wait_until("db is detached", detached, 60, 0.5)
        self.a.umbra("attach", "db", "--mount", self.mount)

    def check_volume(self, at_least, at_most):
        return workload.check_entries(self.mount, at_least, at_most)

    # --- Nothing leaked ---------------------------------------------------------------------------------------------

    def shadow_luns(self):
        return [lun for lun in self.world.json("lun", "list") if lun["name"] != "db"]

    def delete_orphans(self):
        """Shadow copies that are complete, but whose requester never had the document (docs/limits.md): the tools list
        and delete them. One that is not complete has leaked."""
        for lun in self.shadow_luns():
            if lun["attributes"].get("vss.state") != "created":
                raise Wrong(f"leaked: {lun['name']} of a set that was never complete: {lun['attributes']}")
            self.world.umbra("lun", "delete", lun["name"], "--yes")

    def take_back(self):
        for host in (self.a, self.b):
            if host.state() != (0, 0):
                self.start_again(host)

    def check_nothing_left(self):
        world = self.world
        def no_tasks():
            return all(task["state"] not in ("running", "queued") for task in world.json("task", "list"))
        wait_until("no task of the array runs", no_tasks, 60)
        luns = world.json("lun", "list")
        if [lun["name"] for lun in luns] != ["db"]:
            raise Wrong(f"leaked LUNs: {[lun['name'] for lun in luns]}")
        masks = [mask["initiator"] for mask in luns[0]["masks"]]
        if masks != [self.a.iqn]:
            raise Wrong(f"leaked presentation of db: {masks}")
        if luns[0]["health"] != "healthy" or luns[0]["write_protected"] or luns[0]["flags"]:
            raise Wrong(f"db is not as it was: {luns[0]}")
        snapshots = [one["name"] for one in world.json("snapshot", "list")]
        if snapshots:
            raise Wrong(f"leaked snapshots: {snapshots}")
        for host, wanted in ((self.a, ["db"]), (self.b, [])):
            attached = [one["lun"] or one["naa"] for one in host.attached()]
            if attached != wanted:
                raise Wrong(f"host {host.name} has attached {attached}, not {wanted}")
            sets, intents = host.state()
            if intents:
                raise Wrong(f"host {host.name} has {intents} intents left in its journal")
            if sets:
                raise Wrong(f"host {host.name} still knows {sets} sets")
            if len(host.initiators()) != len(wanted):
                raise Wrong(f"host {host.name} runs {host.initiators()}")
        serving = [point for point in mounts_below(world.directory) if point.endswith(".lun")]
        if len(serving) != 1 or set(mounts_below(world.directory)) - set(serving) != {self.mount}:
            raise Wrong(f"leaked mounts: {mounts_below(world.directory)}")
        if len(loops_below(world.directory)) != 1:
            raise Wrong(f"leaked loop devices: {loops_below(world.directory)}")

    def check_sessions(self):
        def only_db():
            return [session["initiator"] for session in self.world.json("session", "list")] == [self.a.iqn]
        wait_until("only host A is logged in", only_db, 30)

    # --- Steps that several phases take ------------------------------------------------------------------------------

    def take(self, transportable=True, started=None):
        """One shadow copy; returns (exit code, output). Notes what has to be in it."""
        if os.path.exists(self.cab):
            os.unlink(self.cab)
        self.marker += 1
        workload.write_marker(os.path.join(self.mount, "marker"), self.marker)
        self.before = self.writer.acknowledged()
        script = TAKE.format(transportable="set option transportable\n" if transportable else "")
        result = self.a.diskshadow(script, self.mount, self.cab, started=started)
        self.after = self.writer.acknowledged() + 1
        return result

    def must_take(self, transportable=True):
        code, output = self.take(transportable)
        if code != 0:
            raise Failed(f"create: {code}\n{output}")

    def import_copy(self, started=None, script=IMPORT):
        return self.b.diskshadow(script, self.cab, self.copy, started=started)

    def check_copy(self, directory):
        """The copy at `directory` is its instant of the volume, all of it, and it was frozen then."""
        device = subprocess.run(["findmnt", "--noheadings", "--output", "SOURCE", "--mountpoint", directory],
                                capture_output=True, text=True, check=True).stdout.split()[0]
        newest = workload.check_entries(directory, self.before, self.after)
        workload.check_marker(os.path.join(directory, "marker"), self.marker)
        workload.check_frozen(device)
        return newest

    def delete_set(self, host):
        code, output = host.diskshadow(DELETE, self.cab)
        if code != 0:
            raise Wrong(f"the set cannot be deleted: {code}\n{output}")

    def forget_transported(self):
        """Host A's record of sets that it handed over."""
        for record in self.a_shadow_sets():
            self.a.umbra("shadow", "cleanup", record)

    def a_shadow_sets(self):
        return sorted({one["set"] for one in json.loads(self.a.umbra("shadow", "list", "--json")[1])})


def repeat(what, attempt):
    """A command that failed by the kill has to succeed when it is given again; how often it was given."""
    end = time.monotonic() + REPEAT_LIMIT_S
    count = 0
    while True:
        count += 1
        code, output = attempt()
        if code == 0:
            return count
        if time.monotonic() >= end:
            raise Wrong(f"{what} fails again and again: {code}\n{output}")
        time.sleep(0.5)


class Create:
    name = "create"
    victims = ("arrayd", "hostd", "provider", "freezer", "initiator", "requester")

    def __init__(self, setup):
        self.setup = setup
        self.host = setup.a

    def prepare(self):
        pass

    def command(self, started):
        return self.setup.take(started=started)

    def settle(self, code, killed):
        setup = self.setup
        if killed == "initiator":
            setup.mount_again()
            setup.check_volume(setup.writer.acknowledged(), setup.writer.acknowledged() + 1)
            setup.writer.start()
        setup.check_thawed()
        setup.check_writes()
        repeated = 0
        if code != 0:
            setup.wait_idle(setup.a)
            repeated = repeat("create", setup.take)
            mine = {lun["name"] for lun in setup.shadow_luns()
                    if lun["attributes"].get("vss.state") != "created"}
            if mine:
                raise Wrong(f"leaked: {mine} of a set that was never complete")
        repeat("import", setup.import_copy)
        setup.check_copy(setup.copy)
        setup.delete_set(setup.b)
        return repeated


class Import:
    name = "import"
    victims = ("arrayd", "hostd", "provider", "initiator", "requester")

    def __init__(self, setup):
        self.setup = setup
        self.host = setup.b

    def prepare(self):
        self.setup.must_take()

    def command(self, started):
        return self.setup.import_copy(started=started)

    def settle(self, code, killed):
        setup = self.setup
        setup.check_thawed()
        setup.check_writes()
        repeated = 0
        if code != 0 or killed == "initiator":
            setup.wait_idle(setup.b)
            self._end_interrupted(killed)
            repeated = repeat("import", self._again)
        setup.check_copy(setup.copy)
        setup.delete_set(setup.b)
        return repeated

    def _end_interrupted(self, killed):
        if killed == "initiator":
            # Its copy is mounted from a process that is dead: the service surfaces what it has imported when it starts.
            for point in reversed(mounts_below(self.setup.b.directory)):
                if not point.endswith(".lun"):
                    subprocess.run(["umount", point], check=True, timeout=60)
            self.setup.b.stop()
            self.setup.b.start()

    def _again(self):
        """Import is done once; where the interrupted one had got so far, only the exposure is missing."""
        if self.setup.copy in mounts_below(self.setup.b.directory):
            return 0, ""
        code, output = self.setup.import_copy()
        if code != 0 and re.search("VSS_E_BAD_STATE|already imported|imported already", output):
            code, output = self.setup.import_copy(script=EXPOSE)
        return code, output


class Resync:
    name = "resync"
    victims = ("arrayd", "hostd", "provider", "initiator", "requester")

    def __init__(self, setup):
        self.setup = setup
        self.host = setup.a
        self.copy_newest = self.last = 0

    def prepare(self):
        setup = self.setup
        setup.must_take(transportable=False)
        shadow = self.shadow_mount()
        self.copy_newest = setup.check_copy(shadow)
        if not setup.writer.progresses(workload.SLOTS // 2, 60):
            raise Failed("the writer does not get on")
        setup.writer.stop()
        self.last = setup.writer.acknowledged()

    def shadow_mount(self):
        found = [point for point in mounts_below(self.setup.a.directory) if "/run/shadow/" in point]
        if len(found) != 1:
            raise Wrong(f"mounted copies: {found}")
        return found[0]

    def command(self, started):
        return self.setup.a.diskshadow(RESYNC, self.setup.cab, started=started)

    def settle(self, code, killed):
        setup = self.setup
        setup.check_thawed()
        # What was begun is finished or undone without the requester; the journal says when.
        setup.wait_idle(setup.a)
        if killed == "initiator":
            setup.mount_again()
        elif setup.mount not in mounts_below(setup.a.directory):
            setup.a.umbra("attach", "db", "--mount", setup.mount)
        newest = setup.check_volume(self.copy_newest, self.last + 1)
        if self.copy_newest < newest < self.last:
            raise Wrong(f"db is neither what it was ({self.last}) nor the copy ({self.copy_newest}): {newest}")
        repeated = 0
        if code == 0 and newest != self.copy_newest:
            raise Wrong("the resynchronisation succeeded, but db has not the copy's content")
        if code != 0:
            repeated = repeat("resync", lambda: setup.a.diskshadow(RESYNC, setup.cab))
        wait_until("db is mounted again", lambda: setup.mount in mounts_below(setup.a.directory), 30)
        setup.check_volume(self.copy_newest, self.copy_newest)
        workload.check_marker(os.path.join(setup.mount, "marker"), setup.marker)
        setup.writer.reset(self.copy_newest)
        setup.writer.start()
        setup.check_writes()
        setup.delete_set(setup.a)
        kept = [one["name"] for one in setup.world.json("snapshot", "list")]
        if not kept or any("@before-resync-" not in name for name in kept):
            raise Wrong(f"what db held before is not kept, or more than that: {kept}")
        for name in kept:
            setup.world.umbra("snapshot", "delete", name, "--yes")
        return repeated


PHASES = {one.name: one for one in (Create, Import, Resync)}
