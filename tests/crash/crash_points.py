#!/usr/bin/env python3
"""kill -9 of each process at points of create, import and resync: nothing frozen, leaked or wrong afterwards.

usage: crash_points.py [--points N] [--phase P] [--victim V] [--only STEP] [--total N] [--keep] BIN_DIRECTORY
       --points N   points for each process and phase (default 20), spread over the steps of the phase
       --total N    only N points, spread over all processes and phases
       --only STEP  this point only, as a failure prints it
Points are messages between processes (tests/harness/relay.py): the victim dies while the message is held. Where a phase
has fewer of them while the victim lives, the others lie between two messages, at a fixed share of the time there.
Exit code: 0 all held, 1 not, 77 not root or no FUSE and loop devices.
"""
import argparse
import os
import sys
import threading
import time
import traceback
from collections import Counter
from dataclasses import dataclass

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from phases import PHASES, Setup  # noqa: E402
from relay import Step  # noqa: E402
from workload import Wrong  # noqa: E402
from world import ROOT_ONLY, Failed, World, can_run, is_alive, kill_now  # noqa: E402

RUNS_PER_WORLD = 30


@dataclass(frozen=True)
class Point:
    phase: str
    victim: str
    step: Step
    delay_s: float = 0.0  # after the step

    def __str__(self):
        later = f"+{self.delay_s * 1000:.1f}ms" if self.delay_s else ""
        return f"{self.phase}/{self.victim}/{self.step}{later}"


def victim_pid(setup, phase, victim, requester):
    host = phase.host
    if victim == "arrayd":
        return setup.world.array_process.pid if setup.world.array_process else None
    if victim == "hostd":
        return host.process.pid if host.process else None
    if victim == "provider":
        return host.provider_pid()
    if victim == "freezer":
        return host.freezer_pid()
    if victim == "initiator":
        if phase.name == "import":  # the copy's, which comes into being in this phase
            return next(iter(host.initiators().values()), None)
        return host.initiator_pid(setup.key)
    return requester[0] if requester and is_alive(requester[0]) else None


class Supervisor:
    """Restarts a daemon that died, at once, while the command may still be waiting for it."""

    def __init__(self, setup, phase, victim):
        self.setup, self.phase, self.victim = setup, phase, victim
        self.error = None
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        try:
            if self.victim == "arrayd":
                self.setup.world.array_process.wait()
                self.setup.world.start_array()
            elif self.victim == "hostd":
                self.phase.host.process.wait()
                self.phase.host.start()
        except Exception as error:  # told by join()
            self.error = error

    def join(self):
        self.thread.join()
        if self.error is not None:
            raise self.error


def fresh_service(phase):
    """Every run begins with a service that has not yet loaded its provider: the same steps each time."""
    phase.host.stop()
    phase.host.start()


def finish(setup, phase, code, victim):
    repeated = phase.settle(code, victim)
    setup.delete_orphans()
    setup.forget_transported()
    setup.take_back()
    setup.check_nothing_left()
    setup.check_sessions()
    setup.check_writes()
    return repeated


def reference(setup, phase):
    """The undisturbed phase: [(seconds, step, victims that live then)]."""
    requester = []
    alive = []

    def watch(_):
        alive.append({victim for victim in phase.victims if victim_pid(setup, phase, victim, requester)})
    fresh_service(phase)
    phase.prepare()
    setup.world.relay.begin(watch)
    code, output = phase.command(requester.append)
    steps = setup.world.relay.end()
    if code != 0:
        raise Failed(f"{phase.name} fails without any kill: {code}\n{output}")
    finish(setup, phase, code, None)
    return [(seconds, step, living) for (seconds, step), living in zip(steps, alive)]


def choose(phase, victim, trace, count):
    """`count` points, evenly over the steps at which the victim lives."""
    where = [number for number, (_, _, living) in enumerate(trace) if victim in living]
    if not where:
        return []
    whole = [Point(phase.name, victim, trace[number][1]) for number in where]
    if len(whole) >= count:
        return [whole[(2 * number + 1) * len(whole) // (2 * count)] for number in range(count)]
    between = []
    share = 0
    while len(whole) + len(between) < count:
        share += 1
        for number in where:
            if number + 1 < len(trace) and len(whole) + len(between) < count:
                gap = trace[number + 1][0] - trace[number][0]
                part = (share * 0.381966) % 1.0
                between.append(Point(phase.name, victim, trace[number][1], max(0.0002, gap * part)))
    return whole + between


def run_point(setup, point):
    """One kill, and everything that has to hold after it. Returns how often the command was given again."""
    phase = PHASES[point.phase](setup)
    fresh_service(phase)
    phase.prepare()
    requester = []
    met = threading.Event()
    killed = []
    supervisor = Supervisor(setup, phase, point.victim)

    def strike():
        pid = victim_pid(setup, phase, point.victim, requester)
        if pid is not None:
            killed.append(pid)
            kill_now(pid)
            supervisor.thread.start()
        met.set()

    def watch(step):
        if step != point.step:
            return
        if point.delay_s:
            threading.Timer(point.delay_s, strike).start()
        else:
            strike()
    setup.world.relay.begin(watch)
    code, output = phase.command(requester.append)
    reached = met.wait(5)
    setup.world.relay.end()
    if not reached:
        raise Failed(f"the step was not met\n{output}")
    if killed:
        supervisor.join()
    elif not point.delay_s:
        raise Failed(f"no {point.victim} at that step\n{output}")
    try:
        return finish(setup, phase, code, point.victim if killed else None), bool(killed), code
    except (Wrong, Failed) as error:
        raise type(error)(f"{error}\n-- the command ended with {code}:\n{output}") from None


class Runner:
    def __init__(self, options):
        self.options = options
        self.world = self.setup = None
        self.runs = 0

    def ready(self):
        if self.world is None or self.runs >= RUNS_PER_WORLD:
            self.close()
            self.world = World(self.options.bin_directory, hosts=("a", "b"), keep=self.options.keep)
            self.setup = Setup(self.world)
            self.runs = 0
        self.runs += 1
        return self.setup

    def close(self):
        if self.world is not None:
            self.setup and self.setup.writer.stop()
            self.world.clean_up()
        self.world = self.setup = None

    def plan(self):
        """The points, by phase and victim."""
        lists = []
        for name, phase in PHASES.items():
            if self.options.phase not in (None, name):
                continue
            setup = self.ready()
            trace = reference(setup, phase(setup))
            print(f"{name}: {len(trace)} steps, {trace[-1][0]:.2f} s", flush=True)
            for victim in phase.victims:
                if self.options.victim in (None, victim):
                    points = choose(phase, victim, trace, self.options.points)
                    if not points:
                        raise Failed(f"{victim} never lives in {name}")
                    lists.append(points)
        if self.options.total is None:
            return [point for points in lists for point in points]
        # Spread over every list, and within each over its whole length.
        share = [self.options.total // len(lists) + (number < self.options.total % len(lists))
                 for number in range(len(lists))]
        return [points[(2 * number + 1) * len(points) // (2 * wanted)]
                for points, wanted in zip(lists, share) for number in range(wanted)]

    def run(self):
        points = self.plan()
        if self.options.only:
            points = [point for point in points if str(point).startswith(self.options.only)]
        counts = Counter()
        failures = []
        for point in points:
            begun = time.monotonic()
            try:
                repeated, killed, code = run_point(self.ready(), point)
                counts["killed" if killed else "ended before"] += 1
                counts["succeeded in spite of it" if code == 0 else "failed and succeeded when repeated"] += 1
                print(f"ok    {point} exit {code} repeated {repeated} ({time.monotonic() - begun:.1f} s)", flush=True)
            except Exception as error:  # whatever it is, it belongs to this point
                failures.append(str(point))
                print(f"FAIL  {point} ({time.monotonic() - begun:.1f} s)\n{error}", flush=True)
                if not isinstance(error, (Wrong, Failed)):
                    traceback.print_exc(file=sys.stdout)
                self.world.print_logs()
                self.close()
        self.close()
        print(f"crash points: {len(points)} run, {len(failures)} failed; " +
              ", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
        for name in failures:
            print("failed: " + name)
        return 1 if failures or not points else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bin_directory")
    parser.add_argument("--points", type=int, default=20)
    parser.add_argument("--total", type=int)
    parser.add_argument("--phase", choices=PHASES)
    parser.add_argument("--victim")
    parser.add_argument("--only")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    if not can_run():
        print("skipped: " + ROOT_ONLY)
        return 77
    runner = Runner(options)
    try:
        return runner.run()
    finally:
        runner.close()


if __name__ == "__main__":
    sys.exit(main())
