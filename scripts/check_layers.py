#!/usr/bin/env python3
"""Checks that every directory includes only what the table in ARCHITECTURE.md allows.

The table is the part between <!-- layers --> and <!-- /layers -->: | `directory` | allowed directories | what |.
Tests (x_test.cc, testing/ and tests/) may include anything but the programs in apps/.
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.M)


def read_table():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    found = re.search(r"<!-- layers -->(.*?)<!-- /layers -->", text, re.S)
    if not found:
        sys.exit("check_layers: ARCHITECTURE.md has no table between <!-- layers --> and <!-- /layers -->")
    table = {}
    for line in found.group(1).splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) < 2 or not cells[0].startswith("`"):
            continue
        table[cells[0].strip("`")] = set(re.findall(r"`([^`]+)`", cells[1]))
    return table


def main():
    table = read_table()
    names = set(table)
    for name, allowed in table.items():
        unknown = allowed - names
        if unknown:
            sys.exit(f"check_layers: {name} allows {', '.join(sorted(unknown))}, which the table does not have")
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "src", "include", "apps"], cwd=ROOT,
                           check=True, capture_output=True, text=True).stdout.split()
    problems = []
    checked = 0
    seen = set()
    for file in files:
        path = pathlib.PurePosixPath(file)
        if path.suffix not in (".h", ".cc", ".c") or not (ROOT / file).exists():
            continue
        parts = path.parts
        if path.name.endswith("_test.cc") or "testing" in parts:
            continue
        directory = parts[1] if parts[0] == "src" else parts[0]
        seen.add(directory)
        if directory not in table:
            problems.append(f"{file}: directory {directory} is not in the table of ARCHITECTURE.md")
            continue
        checked += 1
        text = (ROOT / file).read_text()
        for match in INCLUDE.finditer(text):
            target = match.group(2)
            if match.group(1) == "<" and not (ROOT / "include" / target).exists():
                continue  # a library's: <iscsi/iscsi.h> is libiscsi
            top = target.split("/")[0] if "/" in target else None
            if top is None and (ROOT / "include" / target).exists():
                top = "include"
            if top == "compat":
                top = "include"
            if "testing" in target.split("/")[:-1] and top in names:
                problems.append(f"{file}: includes {target}, which is for tests")
                continue
            if top is None or top not in names or top == directory:
                continue
            if top not in table[directory]:
                line = text.count("\n", 0, match.start(2)) + 1
                problems.append(f"{file}:{line}: {directory} may not include {target}")
    for name in sorted(names - seen):
        if (ROOT / "src" / name).exists():
            problems.append(f"ARCHITECTURE.md: {name} has no sources")
    for problem in problems:
        print(problem)
    print(f"layers: {checked} files checked, {len(problems)} problems")
    return 1 if problems or checked == 0 else 0


sys.exit(main())
