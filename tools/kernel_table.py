#!/usr/bin/env python3
"""Writes docs/kernel-speed.md: what each encoding's linear kernels reach on one core of this machine.

    tools/kernel_table.py [KERNELS_BENCH]

KERNELS_BENCH: build/release/bin/kernels_bench by default. Each encoding is measured beside the plain read of the same memory and the int8 peak, so that
neighbours meet both; the best of a few repetitions counts.
"""

import datetime
import json
import pathlib
import platform
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "kernel-speed.md"
SHAPE = "llama_1b/gate_up"
ENCODINGS = ["f32", "f16", "bf16", "q8", "q8min", "q6", "q6k", "q5", "q5min", "q5kmin", "q4", "q4g128", "q4nl", "q4nlk", "q4min", "q4kmin", "mxfp4", "q3",
             "q3min", "q3k", "q2", "q2min", "q2kmin", "e8p2g32", "e8p3g32", "e8p4g32", "q4s24", "q8s24"]
OPTIONS = ["--benchmark_min_time=0.03", "--benchmark_repetitions=3", "--benchmark_format=json"]


def best_rates(bench, names):
    """Name -> (GB/s, GMAC/s) of its best repetition."""
    pattern = "^(" + "|".join(names) + ")$"
    done = subprocess.run([bench, "--benchmark_filter=" + pattern, *OPTIONS], capture_output=True, check=True)
    rates = {}
    for row in json.loads(done.stdout)["benchmarks"]:
        if row.get("run_type") == "aggregate":
            continue
        old = rates.get(row["run_name"], (0, 0))
        new = (row["bytes_per_second"] / 1e9, row["mac_per_second"] / 1e9)
        rates[row["run_name"]] = tuple(map(max, old, new))
    return rates


def best_isa(bench):
    names = subprocess.run([bench, "--benchmark_list_tests"], capture_output=True, check=True).stdout.decode().split()
    return [name.split("/")[1] for name in names if name.startswith("read/")][-1]


def cpu_name():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def row_of(bench, isa, encoding):
    """A row of the table, and the read, GB/s, that it was measured beside."""
    few, many, floats = (f"linear_{a}/{isa}/{encoding}/{SHAPE}/tokens:{n}" for a, n in (("a8", 1), ("a8", 128), ("a16", 1)))
    read, peak = f"read/{isa}", f"int8_peak/{isa}"
    rates = best_rates(bench, [read, peak, few, many, floats])
    cells = [encoding, f"{rates[read][0]:.1f}"]
    if few in rates:
        cells += [f"{rates[few][0]:.1f}", f"{100 * rates[few][0] / rates[read][0]:.0f} %"]
        cells += [f"{rates[many][1]:.0f}", f"{100 * rates[many][1] / rates[peak][1]:.0f} %"]
    else:
        cells += ["", "", "", ""]
    cells += [f"{rates[floats][0]:.1f}", f"{100 * rates[floats][0] / rates[read][0]:.0f} %"]
    return "| " + " | ".join(cells) + " |", rates[read][0]


def main():
    bench = sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "build/release/bin/kernels_bench")
    isa = best_isa(bench)
    rows = [row_of(bench, isa, encoding) for encoding in ENCODINGS]
    reads = [read for _, read in rows]
    head = f"""# Speed of the linear kernels, by encoding

Written by `tools/kernel_table.py` on {datetime.date.today()}: one core of {cpu_name()}, `{isa}`, the matrix `{SHAPE}` of [bench/shapes](../bench/shapes), weights from
memory (512 MB, a matrix after the other). "Read" is a plain loop over the same memory in the same minute; shares are of it, or of the int8 peak of vector registers
(not of tiles). Best of three runs each. From one row to the next the read itself was {min(reads):.1f} to {max(reads):.1f} GB/s, and shares move with it.
Kernels ask for memory ahead, which the plain loop leaves to the processor: they can pass 100 %.

| encoding | read, GB/s | decode a8, GB/s | of read | 128 tokens a8, GMAC/s | of the int8 peak | decode a16, GB/s | of read |
|---|---|---|---|---|---|---|---|
"""
    PAGE.write_text(head + "\n".join(row for row, _ in rows) + "\n")


if __name__ == "__main__":
    main()
