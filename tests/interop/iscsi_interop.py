#!/usr/bin/env python3
"""Foreign initiators against our target: libiscsi's tools, qemu-io, and libiscsi's conformance suite.

usage: iscsi_interop.py TARGET_PROGRAM ALLOWED_FILE [TEST...]
       TARGET_PROGRAM   serves RAM volumes and prints "portal IP:PORT"
       ALLOWED_FILE     lines "fail|skip NAME  reason": what may fail or be skipped, and why
       TEST             only these conformance tests
Every conformance test runs in a process of its own: one hung or broken test spoils no other.
Exit code: 0 all as expected, 1 not, 77 the tools are missing.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

TARGET = "iqn.2026-01.test.umbra:array"
TIMEOUT_S = 30


class Server:
    """The target program, ended by the end of its standard input."""

    def __init__(self, program, *arguments):
        self.process = subprocess.Popen([program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line.startswith("portal "):
            raise RuntimeError("the target did not start: " + line)
        self.portal = line.split()[1]

    def url(self, lun):
        return f"iscsi://{self.portal}/{TARGET}/{lun}"

    def stop(self):
        self.process.stdin.close()
        try:
            return self.process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return "the target did not stop"


failures = []


def check(name, ok, detail=""):
    print(("ok    " if ok else "FAIL  ") + name + ("" if ok else "\n" + detail), flush=True)
    if not ok:
        failures.append(name)


def run(*command):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIMEOUT_S, text=True,
                              errors="replace", stdin=subprocess.DEVNULL)
        return done.returncode, done.stdout
    except subprocess.TimeoutExpired as late:
        return "timeout", (late.stdout or b"").decode(errors="replace")


def tools(server):
    code, out = run("iscsi-ls", "-s", f"iscsi://{server.portal}")
    check("iscsi-ls", code == 0 and f"Target:{TARGET} Portal:{server.portal},1" in out and
          len(re.findall(r"^Lun:\d+ +Type:DIRECT_ACCESS", out, re.M)) == 2, out)
    code, out = run("iscsi-inq", server.url(1))
    check("iscsi-inq", code == 0 and "Vendor:UMBRA" in out, out)
    code, out = run("iscsi-inq", "-e", "1", "-c", "131", server.url(1))
    check("iscsi-inq page 83", code == 0 and "naa.60250000000000000000000000000001" in out.lower() and
          "SCSI_NAME_STRING" in out and "T10_VENDOR" in out, out)
    code, out = run("iscsi-readcapacity16", server.url(1))
    check("iscsi-readcapacity16", code == 0 and "LBPME:1 LBPRZ:1" in out and "Total size:134217728" in out, out)


def qemu(server):
    script = ["write -P 0x5a 0 8M", "read -P 0x5a 0 8M", "write -P 3 512 4096", "read -P 0x5a 0 512", "read -P 3 512 4096",
              "read -P 0x5a 4608 512", "discard 1M 1M", "read -P 0 1M 1M", "write -z 2M 1M", "read -P 0 2M 1M",
              "read -P 0x5a 3M 5M", "flush"]
    command = ["qemu-io", "-f", "raw", server.url(1)]
    for line in script:
        command += ["-c", line]
    code, out = run(*command)
    check("qemu-io", code == 0 and "failed" not in out.lower() and "error" not in out.lower() and
          out.count("bytes at offset") >= 10, f"{code}\n{out}")
    # The control: a wrong pattern must be told.
    code, out = run("qemu-io", "-f", "raw", server.url(1), "-c", "read -P 0x5b 0 512")
    check("qemu-io notices other data", "Pattern verification failed" in out, out)


def list_tests():
    code, out = run("iscsi-test-cu", "-l")
    return sorted(set(re.findall(r"^(ALL\.\w+\.\w+)\s*$", out, re.M)))


def verdict(code, out):
    if code == "timeout":
        return "fail"
    # CUnit's summary: "asserts <total> <ran> <passed> <failed> <inactive>".
    summary = re.search(r"^\s*tests\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)", out, re.M)
    if code != 0 or summary is None or int(summary.group(2)) != 1 or int(summary.group(4)) != 0:
        return "fail"
    return "skip" if "[SKIPPED]" in out else "pass"


def conformance(program, allowed, only):
    tests = only or list_tests()
    check("list of conformance tests", len(tests) > 200 or bool(only), f"{len(tests)} tests")
    counts = {"pass": 0, "fail": 0, "skip": 0}
    server = Server(program, "128", "2")
    for test in tests:
        code, out = run("iscsi-test-cu", "-d", "-S", "-v", "-t", test, server.url(1))
        result = verdict(code, out)
        counts[result] += 1
        if result == "pass":
            if test in allowed:
                print(f"note  {test} passes, but is listed as {allowed[test][0]}")
            continue
        expected = test in allowed and allowed[test][0] == result
        if not expected:
            failures.append(test)
            print(f"{result.upper():5} {test} ({code})\n{out}", flush=True)
        if code == "timeout" or server.process.poll() is not None:
            # Also the target's hang or death is this test's failure.
            if server.process.poll() is not None:
                check(f"target survives {test}", False)
            else:
                server.stop()
            server = Server(program, "128", "2")
    print(f"conformance: {counts['pass']} passed, {counts['skip']} skipped, {counts['fail']} failed")
    return server.stop()


def read_allowed(path):
    allowed = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.strip() and not line.startswith("#"):
                kind, name, reason = line.split(None, 2)
                assert kind in ("fail", "skip") and reason.strip(), line
                allowed[name] = (kind, reason.strip())
    return allowed


def main():
    program, allowed_file, only = sys.argv[1], sys.argv[2], sys.argv[3:]
    for tool in ("iscsi-ls", "iscsi-inq", "iscsi-readcapacity16", "iscsi-test-cu", "qemu-io"):
        if shutil.which(tool) is None:
            print(f"skipped: {tool} is not installed (packages libiscsi-bin, qemu-utils, qemu-block-extra)")
            return 77
    if not only:
        server = Server(program, "128", "2")
        tools(server)
        qemu(server)
        check("target ends cleanly", server.stop() == 0)
    check("target ends cleanly after the conformance tests",
          conformance(program, read_allowed(allowed_file), only) == 0)
    print("FAILED: " + ", ".join(failures) if failures else "all as expected")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
