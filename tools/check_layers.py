#!/usr/bin/env python3
"""Checks that every #include keeps to layers.txt; prints each edge that does not, and exits 1.

Usage: tools/check_layers.py [ROOT]

Tests (*_test.cc, *_fuzz.cc, *_bench.cc, *_builder.h and tests/) may include anything: they are leaves.
Two sub-folders of src/targets, or of src/delegates, must never include one another.
"""

import pathlib
import re
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
LEAVES = re.compile(r"(_test|_fuzz|_bench)\.cc$|/testdata/|_for_test\.(h|cc)$")
SIBLINGS = ("src/targets", "src/delegates")


def read_layers(path: pathlib.Path) -> dict[str, list[str]]:
    layers = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        line = line.split("#")[0].strip()
        if not line:
            continue
        folder, colon, allowed = line.partition(":")
        if not colon:
            sys.exit(f"{path}:{number}: expected 'folder: folders', found '{line}'")
        layers[folder.strip()] = allowed.split()
    return layers


def is_under(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def layer_of(path: str, layers: dict[str, list[str]]) -> str | None:
    matches = [folder for folder in layers if is_under(path, folder)]
    return max(matches, key=len) if matches else None


def resolve(root: pathlib.Path, source: pathlib.Path, name: str) -> str | None:
    """The repository path that an include means; None for a header of a library."""
    for base in (source.parent, root / "src", root / "include"):
        candidate = (base / name).resolve()
        if candidate.is_file() and candidate.is_relative_to(root):
            return str(candidate.relative_to(root))
    return None


def sibling(path: str) -> tuple[str, str] | None:
    """("src/delegates", "cpu") for a file inside one of several interchangeable parts."""
    for parent in SIBLINGS:
        parts = path.removeprefix(parent + "/").split("/")
        if is_under(path, parent) and len(parts) > 1:
            return parent, parts[0]
    return None


def allowed(source: str, target: str, layers: dict[str, list[str]]) -> bool:
    here, there = sibling(source), sibling(target)
    if here and there and here[0] == there[0] and here != there:
        return False
    layer = layer_of(source, layers)
    if is_under(target, "src/base") or is_under(target, "include/cria"):
        return True
    folder = "/".join(source.split("/")[:2]) if source.startswith("src/") else source.split("/")[0]
    return is_under(target, folder) or any(is_under(target, a) for a in layers[layer])


def main() -> int:
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
    layers = read_layers(root / "layers.txt")
    n_edges, wrong = 0, []
    files = [p for top in ("src", "python", "tools") for p in sorted((root / top).rglob("*")) if p.suffix in (".h", ".cc")]
    for path in files:
        source = str(path.relative_to(root))
        if LEAVES.search(source):
            continue
        if layer_of(source, layers) is None:
            wrong.append(f"{source}: its folder is not in layers.txt")
            continue
        for name in INCLUDE.findall(path.read_text()):
            target = resolve(root, path, name)
            if target is None:
                continue
            n_edges += 1
            if not allowed(source, target, layers):
                wrong.append(f"{source} includes {target}: not allowed by layers.txt")
    print("\n".join(wrong + [f"check_layers: {len(files)} files, {n_edges} includes, {len(wrong)} not allowed"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
