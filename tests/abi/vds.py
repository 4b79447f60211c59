#!/usr/bin/env python3
"""Compares include/vds.h, vdshwprv.h, vdserr.h and vdslun.h with the facts of Windows' binary interface (vds_abi.tsv, vds_codes.tsv).

vds.py compare ABI_TSV CODES_TSV MISSING INCLUDE   IIDs, bases, methods (order, parameter types and names), enumerations, structures,
                                                   constants and result codes; what is not declared must stand in MISSING, and what
                                                   stands there must not be declared
vds.py layout ABI_TSV INCLUDE                      prints a C++ source whose static_asserts say the same to the compiler
vds.py selftest ABI_TSV CODES_TSV MISSING INCLUDE  shows that compare notices each kind of difference
"""
import os
import re
import sys

HEADERS = ["vdserr.h", "vdslun.h", "vdshwprv.h", "vds.h"]


class Facts:
    def __init__(self, path):
        self.iids, self.methods, self.structs, self.enums, self.constants = {}, {}, {}, {}, {}
        for line in open(path, encoding="utf-8"):
            if line.startswith("#") or not line.strip():
                continue
            kind, owner, index, name, detail = (line.rstrip("\n").split("\t") + [""] * 5)[:5]
            if kind == "iid":
                self.iids[owner] = (name.strip("{}").lower(), detail)
            elif kind == "clsid":
                self.constants[owner] = name.strip("{}").lower()
            elif kind == "method":
                self.methods.setdefault(owner, {})[int(index)] = (name, detail)
            elif kind == "struct":
                self.structs.setdefault(owner, []).append((index, name, detail))
            elif kind == "enum":
                self.enums.setdefault(owner, []).append((name, int(detail, 16)))
            elif kind == "define":
                self.constants[name] = int(detail.split()[1], 16)


class Declared:
    def __init__(self, text):
        text = re.sub(r"//[^\n]*", "", re.sub(r"/\*.*?\*/", "", text, flags=re.S))
        self.iids = {n: i.lower() for n, i in re.findall(r"COMPAT_INTERFACE_ID\(\s*(\w+)\s*,\s*\"([^\"]+)\"\s*\)", text)}
        self.constants = {n: g.lower() for n, g in re.findall(r"CLSID (\w+)\s*=\s*::compat::guid_literal\(\"([^\"]+)\"\)", text)}
        for name, value in re.findall(r"#define (\w+) \(?(0x[0-9A-Fa-f]+|\d+)L?\)?\s*$", text, flags=re.M):
            self.constants[name] = int(value, 0)
        self.codes = {n: int(v, 16) for n, v in re.findall(r"#define (\w+) _HRESULT_TYPEDEF_\((0x[0-9A-F]+)\)", text)}
        self.interfaces = {}
        for name, base, body in re.findall(r"struct (\w+) : public (\w+) \{(.*?)\n\};", text, flags=re.S):
            methods = []
            for method, parameters in re.findall(r"virtual HRESULT STDMETHODCALLTYPE\s+(\w+)\(([^)]*)\) = 0;", body):
                methods.append((method, [spaced(p) for p in parameters.split(",") if p.strip()]))
            self.interfaces[name] = (base, methods)
        self.enums = {}
        for name, body in re.findall(r"enum (\w+)(?: : U?LONG)? \{(.*?)\}", text, flags=re.S):
            values, last = [], -1
            for item in filter(None, (part.strip() for part in body.split(","))):
                key, _, value = item.partition("=")
                last = int(value, 0) if value else last + 1
                values.append((key.strip(), last))
            self.enums[re.sub(r"^_(?!_)", "", name)] = values
        self.structs = {}
        for name, body in re.findall(r"typedef struct _(\w+) \{(.*?)\n\} \w+;", text, flags=re.S):
            self.structs[name] = body


def spaced(text):
    return re.sub(r"\s*\*", "*", re.sub(r"\s+", " ", text.strip()))


def plain(kind):
    """One name for the types that are typedefs of each other here and there."""
    return {"VDS_OBJECT_ID": "GUID", "CLSID": "GUID"}.get(kind.rstrip("*"), kind.rstrip("*")) + "*" * kind.count("*")


def parameters(detail):
    result = []
    for item in re.findall(r"\[[^\]]*\] ([^,\[]+)", detail):
        kind, _, name = item.strip().rpartition(" ")
        result.append((plain(spaced(kind)), name))
    return result


def fields(declared, body):
    """Members in order, unions and named structures opened: (path, name, type) as the facts write them."""
    nested = {}
    for name, inner in re.findall(r"struct (\w+) \{([^}]*)\};", body):
        nested[name] = inner
    body = re.sub(r"struct \w+ \{[^}]*\};", "", body)
    result, index = [], 0

    def member(path, text):
        match = re.match(r"(.+?)\s*(\w+)((?:\[\w+\])?)$", spaced(text))
        kind, name, count = match.groups()
        count = re.sub(r"\[([A-Z]\w+)\]", lambda m: "[%d]" % declared.constants[m.group(1)], count)
        if kind in nested:
            result.append((path, name, "struct"))
            for i, inner in enumerate(filter(None, (m.strip() for m in nested[kind].split(";")))):
                member(f"{path}.{i}", inner)
        else:
            result.append((path, name, plain(spaced(kind)) + count))

    at = 0
    for match in re.finditer(r"union \{([^}]*)\}|([^;{}]+)(?=;)", body):
        if match.group(1) is not None:
            result.append((str(index), "(anon)", "union"))
            for i, inner in enumerate(filter(None, (m.strip() for m in match.group(1).split(";")))):
                member(f"{index}.{i}", inner)
        elif match.group(2).strip():
            member(str(index), match.group(2))
        else:
            continue
        index += 1
        at = match.end()
    return result


def compare(facts, codes, missing, declared):
    wrong, counts = [], dict(interfaces=0, methods=0, enumerations=0, structures=0, constants=0, codes=0)

    def absent(name, there):
        if name in missing and there:
            wrong.append(f"{name} is listed as missing, and is declared")
        if name not in missing and not there:
            wrong.append(f"{name} is not declared, and not listed as missing")
        return not there

    for name, (iid, base) in facts.iids.items():
        if absent(name, name in declared.interfaces):
            continue
        counts["interfaces"] += 1
        if declared.iids.get(name) != iid:
            wrong.append(f"{name}: IID {declared.iids.get(name)} instead of {iid}")
        our_base, ours = declared.interfaces[name]
        if our_base != base:
            wrong.append(f"{name}: base {our_base} instead of {base}")
        theirs = facts.methods.get(name, {})
        if sorted(theirs) != list(range(3, 3 + len(theirs))) or len(ours) != len(theirs):
            wrong.append(f"{name}: {len(ours)} methods instead of {len(theirs)}")
            continue
        for slot, (method, detail) in sorted(theirs.items()):
            counts["methods"] += 1
            our_method, our_parameters = ours[slot - 3]
            if our_method != method:
                wrong.append(f"{name}, slot {slot}: {our_method} instead of {method}")
                continue
            split = [(plain(p.rpartition(" ")[0]), p.rpartition(" ")[2]) for p in our_parameters]
            if split != parameters(detail):
                wrong.append(f"{name}::{method}: {split} instead of {parameters(detail)}")
    for name, values in facts.enums.items():
        if absent(name, name in declared.enums):
            continue
        counts["enumerations"] += 1
        if declared.enums[name] != values:
            wrong.append(f"enum {name}: {sorted(set(declared.enums[name]) ^ set(values)) or 'another order'}")
    for name, members in facts.structs.items():
        if absent(name, name in declared.structs):
            continue
        counts["structures"] += 1
        ours = fields(declared, declared.structs[name])
        theirs = [(p, n, "struct" if t.startswith("struct") else plain(spaced(t))) for p, n, t in members]
        if ours != theirs:
            wrong.append(f"struct {name}: {[m for m in ours if m not in theirs]} instead of {[m for m in theirs if m not in ours]}")
    for name, value in facts.constants.items():
        if absent(name, name in declared.constants):
            continue
        counts["constants"] += 1
        if declared.constants[name] != value:
            wrong.append(f"{name} is {declared.constants[name]} instead of {value}")
    for name, value in codes.items():
        counts["codes"] += 1
        if declared.codes.get(name) != value:
            wrong.append(f"{name} is {declared.codes.get(name)} instead of {value:#x}")
    for name in missing:
        if not any(name in group for group in (facts.iids, facts.enums, facts.structs, facts.constants)):
            wrong.append(f"{name} is listed as missing, and the facts know no such thing")
    return wrong, counts


def read_codes(path):
    pairs = (line.split() for line in open(path, encoding="utf-8") if line.strip() and not line.startswith("#"))
    return {name: int(value, 16) for value, name in pairs}


def read_missing(path):
    lines = (line.split("#")[0].strip() for line in open(path, encoding="utf-8"))
    return {line for line in lines if line}


def read_headers(include):
    return "\n".join(open(os.path.join(include, header), encoding="utf-8").read() for header in HEADERS)


def command_compare(abi, codes, missing, include):
    wrong, counts = compare(Facts(abi), read_codes(codes), read_missing(missing), Declared(read_headers(include)))
    for line in wrong:
        print(line)
    print(", ".join(f"{n} {what}" for what, n in counts.items()), "compared;", len(read_missing(missing)), "listed as missing;",
          len(wrong), "differences")
    return 1 if wrong or not all(counts.values()) else 0


def command_layout(abi, include):
    facts, declared = Facts(abi), Declared(read_headers(include))
    print('#include "vds.h"\n#include <type_traits>')
    for name, (iid, _) in facts.iids.items():
        if name in declared.interfaces:
            print(f'static_assert(__uuidof({name}) == ::compat::guid_literal("{iid}") && IID_{name} == __uuidof({name}));')
            print(f"static_assert(std::is_base_of_v<IUnknown, {name}> && !std::has_virtual_destructor_v<{name}>);")
            print(f"static_assert(sizeof({name}) == sizeof(void*));")
    for name, values in facts.enums.items():
        if name in declared.enums:
            print(f"static_assert(sizeof({'enum ' if name.startswith('__') else ''}{name}) == 4);")
            for key, value in values:
                print(f"static_assert(static_cast<unsigned>({key}) == {value:#x}u);")
    for name, value in facts.constants.items():
        if name in declared.constants and isinstance(value, int):
            print(f"static_assert({name} == {value});")
    print("int main() {}")
    return 0


def command_selftest(abi, codes, missing, include):
    facts, all_codes, listed, text = Facts(abi), read_codes(codes), read_missing(missing), read_headers(include)
    spoiled = {
        "an IID": ("3540a9c7", "3540a9c8"),
        "a method's name": ("Recover(IVdsAsync** ppAsync)", "Rescue(IVdsAsync** ppAsync)"),
        "a parameter's type": ("SetStatus(VDS_LUN_STATUS status)", "SetStatus(ULONG status)"),
        "a method too few": ("    virtual HRESULT STDMETHODCALLTYPE Delete() = 0;\n", ""),
        "the order of methods": ("STDMETHODCALLTYPE Reenumerate() = 0;\n    virtual HRESULT STDMETHODCALLTYPE Refresh()",
                                 "STDMETHODCALLTYPE Refresh() = 0;\n    virtual HRESULT STDMETHODCALLTYPE Reenumerate()"),
        "an enumerator's value": ("VDS_TS_RESTRIPING = 0x5", "VDS_TS_RESTRIPING = 0x8"),
        "an enumerator too few": ("    VDS_H_DEGRADED = 0xB,\n", ""),
        "a field's type": ("ULONGLONG ullSize;", "ULONG ullSize;"),
        "the order of fields": ("VDS_LUN_STATUS status;\n    VDS_HEALTH health;", "VDS_HEALTH health;\n    VDS_LUN_STATUS status;"),
        "a union's member": ("VDS_LUN_NOTIFICATION Lun;", "VDS_LUN_NOTIFICATION TheLun;"),
        "a constant": ("#define VDS_NF_LUN_ARRIVE 0x6C", "#define VDS_NF_LUN_ARRIVE 0x6D"),
        "a result code": ("VDS_E_PROVIDER_CACHE_CORRUPT _HRESULT_TYPEDEF_(0x8004241F)",
                          "VDS_E_PROVIDER_CACHE_CORRUPT _HRESULT_TYPEDEF_(0x80042420)"),
        "an interface too few": ("struct IVdsLun :", "struct IVdsLunX :"),
    }
    failures = 0
    for what, (before, after) in spoiled.items():
        if before not in text:
            print(f"{what}: the text to spoil is not in the headers")
            failures += 1
        elif not compare(facts, all_codes, listed, Declared(text.replace(before, after, 1)))[0]:
            print(f"{what}: a difference that is not noticed")
            failures += 1
    if not compare(facts, all_codes, listed | {"IVdsLun"}, Declared(text))[0]:
        print("a declared interface in the list of missing ones is not noticed")
        failures += 1
    print(len(spoiled) + 1, "differences tried,", failures, "failures")
    return 1 if failures else 0


def main(arguments):
    commands = {"compare": (command_compare, 4), "layout": (command_layout, 2), "selftest": (command_selftest, 4)}
    if not arguments or arguments[0] not in commands or len(arguments) - 1 != commands[arguments[0]][1]:
        print(__doc__)
        return 2
    return commands[arguments[0]][0](*arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
