#!/usr/bin/env python3
"""Reads COM interface headers: ours, and those of MinGW-w64 (Debian package mingw-w64-common), which state the ABI of Windows.

abi.py compare MINGW_INCLUDE OUR_INCLUDE DIFFERENCES   compares IIDs, GUIDs, methods (order, types, default arguments),
                                                       bases, enumerations, structures and HRESULTs; exit 77 without MinGW
abi.py slots OUR_INCLUDE                               prints a C++ test that calls every method through a bare vtable
abi.py alone OUR_INCLUDE COMPILER…                     compiles every header alone, and all before the standard library
abi.py selftest                                        shows that compare finds each kind of difference
"""
import os
import re
import subprocess
import sys

HEADERS = ["vsserror.h", "vdslun.h", "vss.h", "vswriter.h", "vsbackup.h", "vsprov.h", "vsadmin.h"]
SKIPPED = 77


class Model:
    def __init__(self):
        self.interfaces = {}  # name -> (bases, [(return, method, [(type, has default)])])
        self.guids = {}  # name -> text
        self.enums = {}  # type -> {enumerator: value modulo 2**32}
        self.structs = {}  # name -> [(type, field)]
        self.hresults = {}  # name -> value


def strip_comments(text):
    return re.sub(r"//[^\n]*", "", re.sub(r"/\*.*?\*/", "", text, flags=re.S))


def normal_type(text):
    text = re.sub(r"\s+", " ", text.strip())
    text = re.sub(r"\b(struct|class|interface|enum) ", "", text)
    return re.sub(r"\s*([*&])\s*", r"\1", text)


def split_parameter(text):
    """'VSS_ID *pid = 0' -> ('VSS_ID*', True)."""
    declaration, _, default = text.partition("=")
    match = re.fullmatch(r"(.*?[\s*&])(\w+)\s*", declaration.strip(), flags=re.S)
    return normal_type(match.group(1) if match else declaration), bool(default)


def parse_methods(body):
    methods = []
    pattern = r"virtual\s+([\w\s*]+?)\s*STDMETHODCALLTYPE\s+(\w+)\s*\((.*?)\)\s*=\s*0\s*;"
    for returned, name, parameters in re.findall(pattern, body, flags=re.S):
        parts = [p for p in parameters.split(",") if p.strip()]
        methods.append((normal_type(returned), name, [split_parameter(p) for p in parts]))
    return methods


def parse_enums(text, model):
    known = {}
    for name, body in re.findall(r"typedef enum (\w+)\s*(?::\s*\w+\s*)?\{(.*?)\}", text, flags=re.S):
        values = {}
        following = 0
        for item in body.split(","):
            if not item.strip():
                continue
            enumerator, _, expression = item.partition("=")
            if expression.strip():
                following = eval(" ".join(expression.split()), {"__builtins__": {}}, known)  # constants and | only
            known[enumerator.strip()] = following
            values[enumerator.strip()] = following % 2**32
            following += 1
        model.enums[name.lstrip("_")] = values


def parse_structs(text, model):
    for name, body in re.findall(r"typedef struct (\w+)\s*\{([^{}]*)\}", text, flags=re.S):
        if name.endswith("Vtbl"):
            continue
        fields = []
        for field in body.split(";"):
            if field.strip():
                match = re.fullmatch(r"(.*?[\s*])(\w+)\s*", field.strip(), flags=re.S)
                fields.append((normal_type(match.group(1)), match.group(2)))
        model.structs[name.lstrip("_")] = fields


def guid_of_numbers(numbers):
    values = [int(n, 16) for n in re.findall(r"0x([0-9a-fA-F]+)", numbers)]
    tail = "".join(f"{v:02x}" for v in values[3:])
    return f"{values[0]:08x}-{values[1]:04x}-{values[2]:04x}-{tail[:4]}-{tail[4:]}"


def parse(text):
    model = Model()
    text = strip_comments(text)
    # Functions that return a structure are declared twice there; the second form is the one that C++ sees.
    text = re.sub(r"#ifdef WIDL_EXPLICIT_AGGREGATE_RETURNS.*?#else(.*?)#endif", r"\1", text, flags=re.S)
    pattern = r"(?:MIDL_INTERFACE\(\"[^\"]*\"\)\s*|(?<!typedef )struct )(\w+)\s*(?::\s*([\w\s,]+?))?\s*\{(.*?)\};"
    for name, bases, body in re.findall(pattern, text, flags=re.S):
        if name.endswith("Vtbl") or ("STDMETHODCALLTYPE" not in body and not bases):
            continue
        bases = [re.sub(r"public|\s", "", b) for b in bases.split(",") if b.strip()]
        model.interfaces[name] = (bases, parse_methods(body))
    for name, text_id in re.findall(r"COMPAT_INTERFACE_ID\((\w+),\s*\"([^\"]+)\"\)", text):
        model.guids["IID_" + name] = text_id.lower()
    for name, numbers in re.findall(r"DEFINE_GUID\((\w+),\s*(0x[^)]*)\)", text):
        model.guids[name] = guid_of_numbers(numbers)
    parse_enums(text, model)
    parse_structs(text, model)
    for name, value in re.findall(r"#define (VSS_[ES]_\w+) \D*?(0x[0-9A-Fa-f]+)", text):
        model.hresults[name] = int(value, 16)
    return model


class Differences:
    """The deliberate ones, from a file; each has to be met, and nothing else may differ."""

    def __init__(self, lines):
        self.types = {}
        self.allowed = set()
        self.used = set()
        for line in lines:
            line = line.partition("#")[0].strip()
            if line.startswith("type "):
                _, theirs, ours = line.split()
                self.types[theirs] = ours
            elif line:
                self.allowed.add(line)
        self.found = []

    def translate(self, text):
        for theirs, ours in self.types.items():
            if re.search(rf"\b{theirs}\b", text):
                self.used.add("type " + theirs)
                text = re.sub(rf"\b{theirs}\b", ours, text)
        return text

    def note(self, key, detail=""):
        if key in self.allowed:
            self.used.add(key)
        else:
            self.found.append(f"{key}  {detail}".rstrip())

    def stale(self):
        return sorted((self.allowed | {"type " + t for t in self.types}) - self.used)


def compare_interfaces(theirs, ours, differences):
    for name, (bases, methods) in theirs.interfaces.items():
        if name not in ours.interfaces:
            differences.note(f"missing interface {name}")
            continue
        our_bases, our_methods = ours.interfaces[name]
        if bases != our_bases:
            differences.note(f"bases {name}", f"theirs {bases}, ours {our_bases}")
        for slot in range(max(len(methods), len(our_methods))):
            their = methods[slot] if slot < len(methods) else None
            our = our_methods[slot] if slot < len(our_methods) else None
            if their is None or our is None or their[1] != our[1]:
                differences.note(f"method {name} {slot}", f"theirs {their and their[1]}, ours {our and our[1]}")
                break
            where = f"{name}::{their[1]}"
            if differences.translate(their[0]) != our[0]:
                differences.note(f"return {where}", f"theirs {their[0]}, ours {our[0]}")
            their_types = [differences.translate(t) for t, _ in their[2]]
            if their_types != [t for t, _ in our[2]]:
                differences.note(f"parameters {where}", f"theirs {their_types}, ours {[t for t, _ in our[2]]}")
            if [d for _, d in their[2]] != [d for _, d in our[2]]:
                differences.note(f"defaults {where}")


def compare(theirs, ours, differences):
    compare_interfaces(theirs, ours, differences)
    for name, text in theirs.guids.items():
        if text == "00000000-0000-0000-0000-000000000000":
            continue
        if name.startswith("IID_") and name[4:] not in ours.interfaces:
            continue  # reported as a missing interface
        if ours.guids.get(name) != text:
            differences.note(f"guid {name}", f"theirs {text}, ours {ours.guids.get(name)}")
    for kind in ("enums", "structs"):
        our_kind = getattr(ours, kind)
        for name, content in getattr(theirs, kind).items():
            if kind == "structs":
                content = [(differences.translate(t), f) for t, f in content]
            if our_kind.get(name) != content:
                differences.note(f"{kind[:-1]} {name}", f"theirs {content}, ours {our_kind.get(name)}")
    for name, value in theirs.hresults.items():
        if ours.hresults.get(name) != value:
            differences.note(f"hresult {name}", f"theirs {value:#x}, ours {ours.hresults.get(name)}")
    return differences


def read(directory):
    text = ""
    for header in HEADERS:
        with open(os.path.join(directory, header), encoding="utf-8") as file:
            text += file.read() + "\n"
    return parse(text)


def command_compare(mingw, include, differences_file):
    missing = [h for h in HEADERS if not os.path.exists(os.path.join(mingw, h))]
    if missing:
        print(f"skipped: {mingw} has no {missing[0]}; install mingw-w64-common")
        return SKIPPED
    with open(differences_file, encoding="utf-8") as file:
        differences = Differences(file.readlines())
    theirs, ours = read(mingw), read(include)
    compare(theirs, ours, differences)
    for line in differences.found:
        print("differs:", line)
    for line in differences.stale():
        print("listed as a difference, but there is none:", line)
    methods = sum(len(m) for _, m in theirs.interfaces.values())
    print(f"{len(theirs.interfaces)} interfaces, {methods} methods, {len(theirs.guids)} GUIDs, {len(theirs.enums)} "
          f"enumerations, {len(theirs.structs)} structures, {len(theirs.hresults)} HRESULTs compared; "
          f"{len(differences.used)} deliberate differences")
    # A parser that finds nothing would find no difference either.
    if len(theirs.interfaces) < 25 or methods < 200 or len(theirs.hresults) < 80 or len(theirs.enums) < 25:
        print("too little was found: the headers have another form than this script expects")
        return 1
    return 1 if differences.found or differences.stale() else 0


def all_methods(model, name):
    bases, methods = model.interfaces[name]
    if not bases or name == "IUnknown":
        return list(methods)
    first = all_methods(model, bases[0]) if bases[0] in model.interfaces else []
    return first + methods


def command_slots(include):
    text = ""
    for header in ["compat/unknown.h"] + HEADERS:
        with open(os.path.join(include, header), encoding="utf-8") as file:
            text += file.read() + "\n"
    model = parse(text)
    print("// Generated from the headers: every method of every interface, called through a table of bare functions.")
    for header in HEADERS:
        print(f'#include "{header}"')
    print('#include "slots.h"\n')
    for name, (bases, _) in model.interfaces.items():
        if len(bases) > 1:
            continue  # its tables are those of its bases
        print(f"TEST(Slots, {name}) {{\n    Object object;\n    auto& face = object.as<{name}>();")
        for slot, (returned, method, parameters) in enumerate(all_methods(model, name)):
            arguments = ", ".join("{}" for _ in parameters)
            print(f"    face.{method}({arguments});\n    EXPECT_EQ(called, {slot}) << \"{method}\";")
        print("}\n")
    return 0


def command_alone(include, compilers):
    headers = sorted(h for h in os.listdir(include) if h.endswith(".h")) + ["compat/com.h"]
    alone = {header: f'#include "{header}"\n' for header in headers}
    # Nothing that they define may break what comes after them.
    alone["all, before the standard library"] = "".join(alone.values()) + "".join(
        f"#include <{h}>\n" for h in ["algorithm", "filesystem", "functional", "memory", "random", "string", "thread"])
    failures = 0
    for compiler in compilers:
        for dialect in [["-std=c++17"], ["-std=c++23"], ["-std=gnu++17", "-fms-extensions"]]:
            for name, text in alone.items():
                command = [compiler, *dialect, "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wnon-virtual-dtor",
                           "-Werror", "-fsyntax-only", "-I", include, "-x", "c++", "-"]
                done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
                if done.returncode != 0:
                    failures += 1
                    print(f"{name}: {compiler} {' '.join(dialect)}:\n{done.stderr}")
    print(f"{len(headers)} headers, {len(compilers)} compilers, {failures} failures")
    return 1 if failures or not compilers else 0


SAMPLE = """
MIDL_INTERFACE("11111111-2222-3333-4444-555555555555")
ISample : public IUnknown
{
    virtual HRESULT STDMETHODCALLTYPE First(
        boolean b,
        VSS_ID *id) = 0;

    virtual HRESULT STDMETHODCALLTYPE Second(
        DWORD d = 0xffffffff) = 0;

};
DEFINE_GUID(IID_ISample, 0x11111111, 0x2222, 0x3333, 0x44,0x44, 0x55,0x55,0x55,0x55,0x55,0x55);
typedef enum _E { A = 1, B = A | 0x2, C } E;
typedef struct _S { LONG l; BYTE *p; } S;
#define VSS_E_SAMPLE ((HRESULT)0x80042301)
"""


def command_selftest():
    base = SAMPLE
    changes = {
        "": base,
        "guid IID_ISample": base.replace("0x44,0x44", "0x44,0x45"),
        "method ISample 0": base.replace("First", "Other"),
        "method ISample 1": re.sub(r"    virtual HRESULT STDMETHODCALLTYPE Second.*?= 0;\n", "", base, flags=re.S),
        "parameters ISample::First": base.replace("VSS_ID *id", "VSS_ID id"),
        "defaults ISample::Second": base.replace(" = 0xffffffff", ""),
        "return ISample::First": base.replace("HRESULT STDMETHODCALLTYPE First", "void STDMETHODCALLTYPE First"),
        "bases ISample": base.replace("public IUnknown", "public IOther"),
        "missing interface ISample": base.replace("ISample", "IRenamed"),
        "enum E": base.replace("A | 0x2", "A | 0x4"),
        "struct S": base.replace("LONG l", "ULONG l"),
        "hresult VSS_E_SAMPLE": base.replace("80042301", "80042302"),
    }
    failures = 0
    for expected, text in changes.items():
        ours = parse(text.replace("boolean", "bool"))
        differences = compare(parse(base), ours, Differences(["type boolean bool"]))
        found = [line.split("  ")[0] for line in differences.found]
        if found != ([expected] if expected else []):
            failures += 1
            print(f"changed {expected!r}, found {found}")
    stale = compare(parse(base), parse(base), Differences(["bases ISample  # reason"])).stale()
    if stale != ["bases ISample"]:
        failures += 1
        print("a stale line of the list is not noticed:", stale)
    print(f"{len(changes) + 1} cases, {failures} failures")
    return 1 if failures else 0


def main(arguments):
    if arguments[:1] == ["compare"] and len(arguments) == 4:
        return command_compare(*arguments[1:])
    if arguments[:1] == ["slots"] and len(arguments) == 2:
        return command_slots(arguments[1])
    if arguments[:1] == ["alone"] and len(arguments) >= 3:
        return command_alone(arguments[1], arguments[2:])
    if arguments == ["selftest"]:
        return command_selftest()
    print(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
