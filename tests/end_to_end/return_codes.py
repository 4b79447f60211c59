#!/usr/bin/env python3
"""Every documented return code of the five documents, from its real cause, against real processes (docs/return_codes.md).

usage: return_codes.py BIN_DIRECTORY COM_CALLS GROUP...
       GROUP   resync_luns, recover_set, lun_recover, hardware_provider, import_snapshots
Exit code: 0 every code came as documented, 1 not, 77 not root or no FUSE and loop devices.
"""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
import workload  # noqa: E402
from world import ROOT_ONLY, Failed, World, can_run, kill_now, wait_until  # noqa: E402

CODES = {
    "S_OK": 0, "E_NOTIMPL": 0x80004001, "E_INVALIDARG": 0x80070057, "E_OUTOFMEMORY": 0x8007000E,
    "E_ACCESSDENIED": 0x80070005, "VSS_E_BAD_STATE": 0x80042301, "VSS_E_UNEXPECTED": 0x80042302,
    "VSS_E_PROVIDER_VETO": 0x80042306, "VSS_E_OBJECT_NOT_FOUND": 0x80042308, "VSS_S_ASYNC_FINISHED": 0x0004230A,
    "VSS_E_INSUFFICIENT_STORAGE": 0x8004231F, "VSS_E_UNSELECTED_VOLUME": 0x8004232A,
    "VSS_E_CANNOT_REVERT_DISKID": 0x800423FE, "VSS_E_LEGACY_PROVIDER": 0x800423F7,
    "VDS_E_ANOTHER_CALL_IN_PROGRESS": 0x80042404, "VDS_E_OBJECT_DELETED": 0x8004240B,
    "VDS_E_INVALID_OPERATION": 0x80042415, "VDS_E_PROVIDER_CACHE_CORRUPT": 0x8004241F,
    "VDS_E_OBJECT_STATUS_FAILED": 0x80042431}
NAMES = {value: name for name, value in CODES.items()}
PERSISTENT = 0x19  # persistent, no auto-release, no writers
TRANSPORTABLE = 0x20
NO_VOLUME_CHECK = 0x200

failures = []


def name(text):
    return NAMES.get(int(text, 16), text) if text not in (None, "none") else text


def expect(what, answer, hr, end=None):
    got, got_end = name(answer.get("hr")), name(answer.get("async"))
    good = got == hr and got_end == end
    print(f"{'ok   ' if good else 'FAIL '} {what}: {got}" + (f", {got_end}" if got_end else "") +
          ("" if good else f" (wanted {hr}, {end})") + (f"  [{answer['text']}]" if answer.get("text") else ""), flush=True)
    if not good:
        failures.append(what)


def check(what, holds, detail=""):
    print(f"{'ok   ' if holds else 'FAIL '} {what} {'' if holds else detail}", flush=True)
    if not holds:
        failures.append(what)


class Calls:
    """com_calls as a process: one line in, one line out."""

    def __init__(self, world, face, *arguments, environment=None, user=None):
        command = [world.com_calls, face, *arguments]
        self.world = world
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=world.directory,
                                        env={**world.environment, **(environment or {})}, user=user,
                                        group="nogroup" if user else None, extra_groups=[] if user else None)
        world.children.append(self.process)

    def __call__(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise Failed(f"com_calls ended at: {line}")
        head, _, text = answer.rstrip("\n").partition(" text=")
        return {**dict(word.split("=", 1) for word in head.split()), "text": text}

    def end(self):
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()
        self.world.children.remove(self.process)


def requester(host):
    return Calls(host.world, "vss", environment={"UMBRA_HOST": "unix:" + host.socket})


def provider(world, host):
    config = os.path.join(world.directory, "provider.toml")
    with open(config, "w", encoding="utf-8") as file:
        file.write(f'[provider]\ninitiator = "{host.iqn}"\nmachine = "test"\n[[array]]\naddress = "unix:{world.array_socket}"\n')
    calls = Calls(world, "provider", world.library("libumbra-hwprv.so"), environment={"UMBRA_PROVIDER_CONFIG": config})
    expect("the provider loads", calls("load"), "S_OK")
    return calls


def naa(world, lun):
    return world.json("lun", "show", lun)["naa"]


def make_volume(world, host, lun="db", size="64M"):
    world.umbra("lun", "create", lun, "--size", size, "--type", "parity")
    mount = os.path.join(host.directory, lun)
    host.umbra("attach", lun, "--mount", mount, "--mkfs", "ext4")
    return mount


def create(host, volume, context):
    """A shadow copy through the public interfaces: (document's file, snapshot id, set id)."""
    calls = requester(host)
    document = os.path.join(host.world.directory, "document.xml")
    expect("CreateVssBackupComponents", calls("create"), "S_OK")
    calls("backup")
    expect("SetContext", calls(f"context {context}"), "S_OK")
    calls("state")
    chosen = calls("start")["id"]
    added = calls(f"add {volume}")
    expect("AddToSnapshotSet", added, "S_OK")
    expect("DoSnapshotSet", calls("do"), "S_OK", "VSS_S_ASYNC_FINISHED")
    expect("SaveAsXML", calls(f"save {document}"), "S_OK")
    calls("release")
    calls.end()
    return document, added["id"], chosen


# --- IVssHardwareSnapshotProviderEx::ResyncLuns ------------------------------------------------------------------------


def resync_luns(world):
    for lun in ("source", "target"):
        world.umbra("lun", "create", lun, "--size", "16M", "--type", "parity")
    world.umbra("lun", "create", "small", "--size", "16M", "--type", "simple")
    source, target = naa(world, "source"), naa(world, "target")
    # A source is a shadow copy; one that host A took and keeps.
    mount = make_volume(world, world.a, size="400M")
    workload.write_marker(os.path.join(mount, "marker"), 1)
    with open(os.path.join(mount, "much"), "wb") as file:
        for _ in range(250):
            file.write(os.urandom(1 << 20))
    create(world.a, mount, PERSISTENT)
    copy = next(lun for lun in world.json("lun", "list") if lun["kind"] == "shadow-copy")
    source = copy["naa"]
    calls = provider(world, world.a)
    expect("ResyncLuns", calls(f"resync {source} {target}"), "S_OK", "VSS_S_ASYNC_FINISHED")
    world.b.umbra("attach", "target", "--mount", os.path.join(world.b.directory, "target"))
    try:
        workload.check_marker(os.path.join(world.b.directory, "target", "marker"), 1)
        check("the target has the source's content", True)
    except workload.Wrong as wrong:
        check("the target has the source's content", False, str(wrong))
    expect("the destination is in use by another initiator", calls(f"resync {source} {target}"), "VSS_E_PROVIDER_VETO")
    world.b.umbra("detach", "target")
    expect("the first allocation in the method fails", calls(f"oom resync {source} {target}"), "E_OUTOFMEMORY")
    expect("ppAsync is NULL", calls(f"null resync {source} {target}"), "E_INVALIDARG")
    # A simple LUN lies on one drive: everything has to be copied there, and it has no room for it.
    answer = calls(f"resync {source} {naa(world, 'small')}")
    if name(answer["hr"]) == "S_OK":  # noticed while copying
        expect("the drive is too small", answer, "S_OK", "VSS_E_INSUFFICIENT_STORAGE")
    else:
        expect("the drive is too small", answer, "VSS_E_INSUFFICIENT_STORAGE")
    check("the destination is as it was", world.json("lun", "show", "small")["mapped_bytes"] == 0)
    kill_now(world.array_process.pid)
    world.array_process.wait()
    expect("the array is away", calls(f"resync {source} {target}"), "VSS_E_PROVIDER_VETO")
    calls.end()
    world.start_array()


# --- IVssBackupComponentsEx3::RecoverSet -------------------------------------------------------------------------------


def start_recovery(host, document, snapshot, destination="", added="S_OK"):
    calls = requester(host)
    calls("create")
    expect("InitializeForRestore", calls(f"restore {document}"), "S_OK")
    expect("AddSnapshotToRecoverySet", calls(f"recover_add {snapshot} {destination}"), added)
    return calls


def use_shim(world, host):
    """The provider behind a library that can hide its Ex interface; what it does is read when its process starts."""
    mode = os.path.join(world.directory, "shim.mode")
    host.provider["library"] = world.library("libumbra_shim_provider.so")
    host.provider["environment"] = {"UMBRA_SHIM": world.library("libumbra-hwprv.so") + ":" + mode}
    host.stop()
    host.write_config()
    host.start()

    def set_mode(text):
        with open(mode, "w", encoding="ascii") as file:
            file.write(text)
        pid = host.provider_pid()
        if pid is not None:
            kill_now(pid)
            wait_until("the provider's process is gone", lambda: host.provider_pid() is None, 20)
    set_mode("as it is")
    return set_mode


def recover_set(world):
    host = world.a
    mount = make_volume(world, host)
    workload.write_marker(os.path.join(mount, "marker"), 1)
    document, snapshot, _ = create(host, mount, PERSISTENT)
    os.unlink(os.path.join(mount, "marker"))
    calls = requester(host)
    calls("create")
    expect("not initialised", calls("recover 0"), "VSS_E_BAD_STATE")
    calls("backup")
    expect("InitializeForRestore was not called", calls("recover 0"), "VSS_E_BAD_STATE")
    calls("create")
    calls(f"restore {document}")
    expect("nothing was added", calls("recover 0"), "VSS_E_BAD_STATE")
    expect("ppAsync is NULL", calls("null recover 0"), "E_INVALIDARG")
    calls.end()

    calls = start_recovery(host, document, snapshot)
    with open(os.path.join(mount, "open"), "wb"):
        expect("a program uses the destination", calls("recover 0"), "VSS_E_PROVIDER_VETO")
    check("and an entry says so", "cannot be taken out of use" in host.tail(), host.tail())
    expect("RecoverSet", calls("recover 0"), "S_OK", "VSS_S_ASYNC_FINISHED")
    calls.end()
    workload.check_marker(os.path.join(mount, "marker"), 1)

    set_mode = use_shim(world, host)
    set_mode("notimpl")
    calls = start_recovery(host, document, snapshot)
    expect("the provider cannot resynchronise", calls("recover 0"), "E_NOTIMPL")
    calls.end()
    set_mode("as it is")
    calls = start_recovery(host, document, snapshot)
    set_mode("legacy")
    expect("the provider has no Ex interface", calls("recover 0"), "VSS_E_LEGACY_PROVIDER")
    calls.end()
    calls = start_recovery(host, document, snapshot, added="VSS_E_LEGACY_PROVIDER")
    calls.end()
    host.stop()
    host.provider = {"library": world.library("libumbra-hwprv.so"), "arrays": ["unix:array.sock"],
                     "id": "11111111-2222-3333-4444-555555555555"}
    host.write_config()
    host.start()
    calls = start_recovery(host, document, snapshot, added="VSS_E_OBJECT_NOT_FOUND")
    expect("no provider here supports it", calls("recover 0"), "VSS_E_BAD_STATE")
    calls.end()
    host.stop()
    del host.provider["id"]
    host.safe_mode = True
    host.write_config()
    host.start()
    calls = start_recovery(host, document, snapshot, added="VSS_E_BAD_STATE")
    expect("safe mode", calls("recover 0"), "VSS_E_BAD_STATE")
    calls.end()
    host.stop()
    host.safe_mode = False
    host.write_config()
    host.start()
    partitions(world, host)


def sfdisk(device, script):
    subprocess.run(["sfdisk", "--quiet", "--wipe", "always", device], input=script, text=True, check=True,
                   capture_output=True)
    subprocess.run(["partx", "--update", device], check=False, capture_output=True)


def partitions(world, host):
    world.umbra("lun", "create", "parts", "--size", "64M", "--type", "parity")
    host.umbra("attach", "parts")
    device = next(one["device"] for one in host.attached() if one["lun"] == "parts")
    sfdisk(device, "label: gpt\nstart=2048,size=30000\nstart=34816,size=30000\n")
    for number in (1, 2):
        subprocess.run(["mkfs.ext4", "-q", f"{device}p{number}"], check=True)
    one = os.path.join(host.directory, "one")
    os.mkdir(one)
    subprocess.run(["mount", device + "p1", one], check=True)
    document, snapshot, chosen = create(host, one, PERSISTENT)
    calls = start_recovery(host, document, snapshot)
    expect("another volume of the LUN was not added", calls("recover 0"), "VSS_E_UNSELECTED_VOLUME")
    calls.end()
    # Another kind of table: the destination's identity cannot be put back into the copy's.
    subprocess.run(["umount", one], check=True)
    sfdisk(device, "label: dos\nstart=2048,size=30000\n")
    calls = start_recovery(host, document, snapshot, device + "p1")
    answer = calls(f"recover {NO_VOLUME_CHECK}")
    expect("the disk identity cannot be set", answer, "S_OK", "VSS_E_CANNOT_REVERT_DISKID")
    check("and an entry says so", "identity could not be set" in host.tail(), host.tail())
    calls.end()


# --- IVdsLun::Recover --------------------------------------------------------------------------------------------------


def lun_recover(world):
    for lun, kind in (("db", "parity"), ("plain", "simple"), ("gone", "parity"), ("broken", "simple")):
        world.umbra("lun", "create", lun, "--size", "256M", "--type", kind)
    world.a.umbra("attach", "db")
    device = world.a.attached()[0]["device"]
    subprocess.run(["dd", "if=/dev/urandom", "of=" + device, "bs=1M", "count=200", "oflag=direct", "status=none"], check=True)
    calls = Calls(world, "vds", world.library("libumbra-hwprv.so"))
    expect("the provider loads", calls("load"), "S_OK")
    expect("find", calls("find db"), "S_OK")
    drive = world.json("lun", "show", "db")["plexes"][0]["drives"][1]
    world.umbra("drive", "fail", drive, "--yes")
    expect("the first allocation in the method fails", calls("oom recover"), "E_OUTOFMEMORY")
    expect("ppAsync is NULL", calls("null recover"), "E_INVALIDARG")
    expect("Recover begins", calls("begin"), "S_OK")
    expect("a recovery runs already", calls("recover"), "VDS_E_ANOTHER_CALL_IN_PROGRESS")

    def healthy():
        return world.json("lun", "show", "db")["health"] == "healthy"
    wait_until("db is healthy", healthy, 120)
    expect("Recover of a healthy LUN", calls("recover"), "S_OK", "S_OK")

    def found_plain():
        return name(calls("find plain")["hr"]) == "S_OK"
    wait_until("plain is found", found_plain, 30)
    expect("the LUN is not fault tolerant", calls("recover"), "VDS_E_INVALID_OPERATION")
    calls("find gone")
    world.umbra("lun", "delete", "gone", "--yes")
    expect("the LUN was deleted", calls("recover"), "VDS_E_OBJECT_DELETED")
    lost = world.json("lun", "show", "broken")["plexes"][0]["drives"][0]
    calls("find broken")
    world.umbra("drive", "fail", lost, "--yes")
    wait_until("broken has failed", lambda: world.json("lun", "show", "broken")["health"] == "failed", 30)
    expect("the LUN has failed", calls("recover"), "VDS_E_OBJECT_STATUS_FAILED")
    calls("find db")
    kill_now(world.array_process.pid)
    world.array_process.wait()
    expect("the array went away", calls("recover"), "VDS_E_PROVIDER_CACHE_CORRUPT")
    world.start_array()
    expect("until it is read anew", calls("recover"), "VDS_E_PROVIDER_CACHE_CORRUPT")
    # Its connection comes back a little later than the array.
    wait_until("Reenumerate succeeds", lambda: name(calls("reenumerate")["hr"]) == "S_OK", 20)
    expect("Refresh", calls("refresh"), "S_OK")
    expect("find", calls("find db"), "S_OK")
    calls.end()


# --- Hardware Provider Interactions and Behaviors ----------------------------------------------------------------------


def hardware_provider(world):
    world.umbra("lun", "create", "db", "--size", "16M", "--type", "parity")
    calls = provider(world, world.a)
    known, foreign = naa(world, "db"), "60014051234567890123456789012345"

    def supported(what, context, lun, wanted):
        answer = calls(f"supported {context:#x} {lun}")
        check(f"AreLunsSupported: {what}", name(answer["hr"]) == "S_OK" and answer["supported"] == wanted, str(answer))
    supported("no context asked", 0, known, "1")
    supported("differential, transportable", 0x20000 | TRANSPORTABLE | PERSISTENT, known, "1")
    supported("a plex, which we do not make: FALSE", 0x40000, known, "0")
    supported("client-accessible, which no hardware provider makes: FALSE", 0x4, known, "0")
    supported("a LUN of another array: FALSE", 0, foreign, "0")
    calls.end()


# --- IVssBackupComponents::ImportSnapshots -----------------------------------------------------------------------------


def import_snapshots(world):
    mount = make_volume(world, world.a)
    workload.write_marker(os.path.join(mount, "marker"), 1)
    document, _, chosen = create(world.a, mount, PERSISTENT | TRANSPORTABLE)
    calls = requester(world.b)
    calls("create")
    expect("not initialised", calls("import"), "VSS_E_BAD_STATE")
    calls(f"restore {document}")
    expect("during a restore", calls("import"), "VSS_E_BAD_STATE")
    calls("create")
    calls("backup")
    expect("without a document", calls("import"), "VSS_E_BAD_STATE")
    calls("create")
    expect("InitializeForBackup", calls(f"backup {document}"), "S_OK")
    calls(f"context {0xffffffff - (1 << 32)}")
    expect("ppAsync is NULL", calls("null import"), "E_INVALIDARG")
    expect("the first allocation in the method fails", calls("oom import"), "E_OUTOFMEMORY")
    expect("ImportSnapshots", calls("import"), "S_OK", "VSS_S_ASYNC_FINISHED")
    expect("a second time", calls("import"), "VSS_E_BAD_STATE")
    copies = [path for path in os.listdir(os.path.join(world.b.directory, "run", "shadow"))]
    check("one copy is mounted", len(copies) == 1, str(copies))
    workload.check_marker(os.path.join(world.b.directory, "run", "shadow", copies[0], "marker"), 1)

    other = requester(world.a)
    other("create")
    other(f"backup {document}")
    other(f"context {0xffffffff - (1 << 32)}")
    expect("it is imported on another host", other("import"), "S_OK", "VSS_E_BAD_STATE")
    other("create")
    other(f"backup {document}")
    kill_now(world.a.process.pid)
    world.a.process.wait()
    expect("the service is gone", other("import"), "VSS_E_UNEXPECTED")
    other.end()
    world.a.start()
    os.chmod(world.b.directory, 0o755)
    os.chmod(world.directory, 0o755)
    stranger = Calls(world, "vss", environment={"UMBRA_HOST": "unix:" + world.b.socket}, user="nobody")
    expect("neither administrator nor backup operator", stranger("create"), "E_ACCESSDENIED")
    stranger.end()
    expect("DeleteSnapshots", calls(f"delete {chosen}"), "S_OK")
    calls.end()


GROUPS = {one.__name__: one for one in (resync_luns, recover_set, lun_recover, hardware_provider, import_snapshots)}


def main():
    if len(sys.argv) < 4 or any(group not in GROUPS for group in sys.argv[3:]):
        print(__doc__)
        return 2
    if not can_run():
        print("skipped: " + ROOT_ONLY)
        return 77
    for group in sys.argv[3:]:
        print("== " + group, flush=True)
        with World(sys.argv[1], hosts=("a", "b"), drive_mib=192 if group == "resync_luns" else 512) as world:
            world.com_calls = os.path.abspath(sys.argv[2])
            GROUPS[group](world)
            if failures:
                world.print_logs()
    print("FAILED: " + ", ".join(failures) if failures else "every code from its cause")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
