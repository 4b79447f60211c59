#!/usr/bin/env python3
"""The checks of the crash tests, shown to fail: each is given a flow in which the step that it watches was left out.

usage: controls.py BIN_DIRECTORY
No product switch is involved: the copy without a freeze is a plain snapshot of the array (`umbra snapshot create`) under
writes, the missing resynchronisation is not called, leaks are made by hand. Beside each stands the same with the step,
which has to pass: what fails is the missing step, not the way there.
Exit code: 0 every check noticed, 1 not, 77 not root or no FUSE and loop devices.
"""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
import workload  # noqa: E402
from phases import Resync, Setup  # noqa: E402
from workload import Wrong  # noqa: E402
from world import ROOT_ONLY, World, can_run, mounts_below  # noqa: E402

failures = []


def must_notice(what, check):
    try:
        check()
    except Wrong as noticed:
        print(f"ok    noticed: {what}: {str(noticed).splitlines()[0][:150]}", flush=True)
        return
    failures.append(what)
    print(f"FAIL  not noticed: {what}", flush=True)


def must_pass(what, check):
    try:
        check()
        print(f"ok    passes: {what}", flush=True)
    except Wrong as wrong:
        failures.append(what)
        print(f"FAIL  {what}: {wrong}", flush=True)


def snapshot_as_copy(setup, name, frozen):
    """The content of db at one instant, taken in the array behind everybody's back, mounted as copies are."""
    world = setup.world
    setup.marker += 1
    workload.write_marker(os.path.join(setup.mount, "marker"), setup.marker)
    setup.before = setup.writer.acknowledged()
    if frozen:
        subprocess.run(["fsfreeze", "-f", setup.mount], check=True)
    try:
        world.umbra("snapshot", "create", "db", "--name", name)
    finally:
        if frozen:
            subprocess.run(["fsfreeze", "-u", setup.mount], check=True)
    setup.after = setup.writer.acknowledged() + 1
    world.umbra("lun", "create", name, "--size", "96M", "--type", "parity")
    world.umbra("lun", "resync", name, "--from", "db@" + name, "--wait")
    setup.b.umbra("attach", name, "--read-only")
    device = next(one["device"] for one in setup.b.attached() if one["lun"] == name)
    subprocess.run(["mount", "-t", "ext4", "-o", "ro,noload", device, setup.copy], check=True)
    return device


def drop_copy(setup, name):
    subprocess.run(["umount", setup.copy], check=True)
    setup.b.umbra("detach", name)
    for snapshot in setup.world.json("snapshot", "list"):
        setup.world.umbra("snapshot", "delete", snapshot["name"], "--yes")
    setup.world.umbra("lun", "delete", name, "--yes")


def freeze(setup):
    device = snapshot_as_copy(setup, "frozen", True)
    must_pass("a snapshot of a frozen file system", lambda: setup.check_copy(setup.copy))
    drop_copy(setup, "frozen")
    device = snapshot_as_copy(setup, "torn", False)
    must_notice("no freeze: the journal is not empty", lambda: workload.check_frozen(device))
    must_notice("no freeze: what was written is not there", lambda: workload.check_marker(
        os.path.join(setup.copy, "marker"), setup.marker))
    must_notice("no freeze: all checks of a copy", lambda: setup.check_copy(setup.copy))
    drop_copy(setup, "torn")


def resynchronisation(setup):
    phase = Resync(setup)
    phase.prepare()
    must_notice("no resynchronisation: db has not the copy's content",
                lambda: setup.check_volume(phase.copy_newest, phase.copy_newest))
    code, output = phase.command(None)
    must_pass("the same after it", lambda: phase.settle(code, None))
    if code != 0:
        failures.append("resync")
        print(output)


def content(setup):
    setup.writer.stop()
    newest = setup.check_volume(setup.writer.acknowledged(), setup.writer.acknowledged() + 1)
    one = newest - 1
    path = os.path.join(setup.mount, f"s{one % workload.SLOTS}")
    with open(path, "r+b") as file:
        file.seek(60)
        byte = file.read(1)
        file.seek(60)
        file.write(bytes([byte[0] ^ 1]))
    must_notice("one changed bit", lambda: setup.check_volume(newest, newest + 1))
    with open(path, "wb") as file:
        file.write(workload.content(one - workload.SLOTS))
    must_notice("one file of an earlier instant", lambda: setup.check_volume(0, newest + 1))
    with open(path, "wb") as file:
        file.write(workload.content(one))
    must_notice("an acknowledged entry is missing", lambda: setup.check_volume(newest + 1, newest + 2))
    must_pass("the content put right", lambda: setup.check_volume(newest, newest + 1))
    setup.writer.reset(newest)
    setup.writer.start()


def standstill(setup):
    subprocess.run(["fsfreeze", "-f", setup.mount], check=True)
    must_notice("a frozen file system", lambda: setup.check_writes(3))
    subprocess.run(["fsfreeze", "-u", setup.mount], check=True)
    must_pass("the same thawed", setup.check_writes)


def leaks(setup):
    world = setup.world
    must_pass("nothing is left over", setup.check_nothing_left)
    world.umbra("lun", "create", "stray", "--size", "16M", "--type", "simple")
    must_notice("a LUN", setup.check_nothing_left)
    world.umbra("lun", "delete", "stray", "--yes")
    world.umbra("snapshot", "create", "db", "--name", "stray")
    must_notice("a snapshot", setup.check_nothing_left)
    world.umbra("snapshot", "delete", "db@stray", "--yes")
    world.umbra("mask", "add", "db", "--initiator", setup.b.iqn)
    must_notice("a presentation", setup.check_nothing_left)
    world.umbra("mask", "remove", "db", "--initiator", setup.b.iqn)
    setup.must_take()
    must_notice("a shadow copy and a set", setup.check_nothing_left)
    setup.delete_orphans()
    must_notice("a set", setup.check_nothing_left)
    setup.forget_transported()
    os.makedirs(os.path.join(setup.b.directory, "stray"))
    subprocess.run(["mount", "--bind", setup.mount, os.path.join(setup.b.directory, "stray")], check=True)
    must_notice("a mount", setup.check_nothing_left)
    subprocess.run(["umount", os.path.join(setup.b.directory, "stray")], check=True)
    state = os.path.join(setup.a.directory, "run", "freeze", "stray.freeze")
    with open(state, "w", encoding="ascii"):
        pass
    must_notice("a freeze's state file", setup.check_thawed)
    os.unlink(state)
    must_pass("nothing is left over again", setup.check_nothing_left)


def main():
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    if not can_run():
        print("skipped: " + ROOT_ONLY)
        return 77
    with World(sys.argv[1], hosts=("a", "b")) as world:
        setup = Setup(world)
        for control in (freeze, resynchronisation, content, standstill, leaks):
            control(setup)
        directory = world.directory
    if mounts_below(directory):
        failures.append("mounts are left")
    print("FAILED: " + ", ".join(failures) if failures else "every check notices what it is for")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
