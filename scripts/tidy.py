#!/usr/bin/env python3
"""House rules that no compiler knows. Prints file:line: what is wrong; exit 1 when anything is.

A line may claim an exception with a comment `tidy: allow RULE` that gives its reason on the same line.
"""
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Engines run under simulation: the world exists for them only through src/env.
SIMULATED = ("src/store/", "src/lun/", "src/array/", "src/scsi/", "src/iscsi/", "src/coordinator/", "src/sim/")
# Before the engine runs, and offline: reading the configuration, finding and formatting drives.
OFFLINE = ("src/array/config.", "src/array/drive_set.")
WORLD = [
    (re.compile(r"\b(system_clock|steady_clock|high_resolution_clock)\b"), "clock", "time comes from env::Executor"),
    (re.compile(r"\b(std::random_device|std::mt19937(_64)?)\b"), "random", "randomness comes from env::Random"),
    (re.compile(r"\b(std::j?thread|std::async|pthread_create)\b"), "thread", "engines have no threads of their own"),
    (re.compile(r"\b(std::mutex|std::condition_variable|std::shared_mutex)\b"), "lock", "an engine is one executor: use env/sync.h"),
    (re.compile(r"\bstd::this_thread::sleep_(for|until)\b"), "sleep", "wait with env::sleep_for"),
    (re.compile(r"(?<![\w>])::(open|openat|creat|socket|connect|accept4?|sleep)\s*\("), "world", "files and sockets are env's and host's"),
    (re.compile(r"\b(fopen|usleep|nanosleep|gettimeofday|clock_gettime)\s*\("), "world", "the world is env's and host's"),
]
EVERYWHERE = [
    (re.compile(r"(?<![\w.>:])(std::|::)?s?rand\s*\("), "random", "rand() is nobody's friend: use env::Random"),
]
IN_TESTS = [
    (re.compile(r"\bstd::this_thread::sleep_(for|until)\b"), "sleep", "a test waits for what it awaits, not for time"),
]
# Headers of the world, which simulated directories have no business with.
WORLD_HEADERS = {"thread", "mutex", "condition_variable", "shared_mutex", "future", "fstream", "random", "ctime", "time.h",
                 "fcntl.h", "unistd.h", "sys/socket.h", "sys/time.h", "sys/stat.h", "filesystem"}
HRESULT_ALLOWED = ("include/", "src/com/", "src/provider/", "src/requester/", "src/coordinator/provider_",
                   "src/cli/diskshadow", "src/cli/diskraid", "src/cli/vssadmin", "apps/umbra-provider-host/", "apps/diskshadow/",
                   "tests/", "docs/examples/")
MACHINE_PATH = re.compile(r"(?<![\w.])(/work/|/root/|/home/[a-z]|\.\./shared\b)")
TODO = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b(\((soon|perf|security|spec)\): )?")


def strip(text):
    """Comments and string contents become spaces, so that rules see code only; lines stay."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m.group(0)), text)


def is_test(file):
    return file.endswith("_test.cc") or "/testing/" in file or file.startswith("tests/") or file.startswith("bench/")


def main():
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True,
                            text=True).stdout.splitlines()
    files = [file for file in listed if (ROOT / file).is_file()]
    problems = []
    built = None
    if len(sys.argv) > 1:  # compile_commands.json of a complete build: a test that it does not have is never run
        built = {str(pathlib.Path(entry["file"]).relative_to(ROOT)) for entry in json.loads(pathlib.Path(sys.argv[1]).read_text())
                 if pathlib.Path(entry["file"]).is_relative_to(ROOT)}
    checked = 0
    for file in files:
        path = pathlib.PurePosixPath(file)
        if path.suffix in (".png", ".svg", ".img", ".bin", ".cab", ".gz", ".tsv", ".zst"):
            continue
        try:
            text = (ROOT / file).read_text()
        except UnicodeDecodeError:
            continue
        lines = text.splitlines()
        own_rules = file in ("scripts/tidy.py",)
        if not own_rules and file != "LICENSE":
            for number, line in enumerate(lines, 1):
                if MACHINE_PATH.search(line) and "tidy: allow path" not in line:
                    problems.append(f"{file}:{number}: path of one machine")
        if path.suffix not in (".h", ".cc", ".c"):
            continue
        checked += 1
        code = strip(text).splitlines()
        for number, line in enumerate(lines, 1):
            for match in TODO.finditer(line):
                if not match.group(2):
                    problems.append(f"{file}:{number}: write TODO(soon|perf|security|spec): what")
        rules = list(EVERYWHERE)
        if file.startswith(SIMULATED) and not file.startswith(OFFLINE) and not is_test(file):
            rules += WORLD
            for number, line in enumerate(lines, 1):
                header = re.match(r"\s*#\s*include\s*<([^>]+)>", line)
                if header and header.group(1) in WORLD_HEADERS and "tidy: allow header" not in line:
                    problems.append(f"{file}:{number}: <{header.group(1)}>: this directory runs under simulation")
        if is_test(file):
            rules += IN_TESTS
        for number, line in enumerate(code, 1):
            for pattern, name, advice in rules:
                match = pattern.search(line)
                if not match:
                    continue
                if f"tidy: allow {name}" in lines[number - 1]:
                    continue
                problems.append(f"{file}:{number}: {match.group(0).strip()}: {advice}")
            if re.search(r"\bHRESULT\b", line) and not file.startswith(HRESULT_ALLOWED) and not is_test(file):
                problems.append(f"{file}:{number}: HRESULT outside of the COM edge")
        if path.name.endswith("_test.cc") and built is not None and file not in built:
            problems.append(f"{file}: no target builds this test")
    for problem in problems:
        print(problem)
    print(f"tidy: {checked} sources checked, {len(problems)} problems")
    return 1 if problems or checked == 0 else 0


sys.exit(main())
