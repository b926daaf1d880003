"""What the end-to-end tests share: running `cria`, reading .npy files, finding test data."""

import ast
import json
import math
import os
import pathlib
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import unittest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
CRIA = os.environ.get("CRIA", str(REPOSITORY / "build/release/bin/cria"))
SHARED = pathlib.Path(os.environ.get("CRIA_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
TINY = REPOSITORY / "models" / "cria-tiny"
DRAFT = REPOSITORY / "models" / "cria-draft"
HELDOUT = REPOSITORY / "models" / "heldout" / "heldout.txt"
CALIBRATION = REPOSITORY / "models" / "calibration" / "calibration.txt"

# The ops of a model, as --place names them, and all of them on the NPU.
OP_KINDS = ("embed", "rms_norm", "linear", "rope", "kv_append", "attention", "swiglu", "last_row", "output")
ON_NPU = ",".join(kind + "=npu" for kind in OP_KINDS)

# ctest reports a test program that exits with this as skipped.
SKIPPED = 77


def require(*paths):
    """Skips the whole program, saying why, unless all paths exist."""
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        print(f"SKIPPED {sys.argv[0]}: test data is absent: {', '.join(missing)}")
        sys.exit(SKIPPED)


def cria(*arguments, cache=None, check=True, env=None, **options):
    """Runs the command; returns CompletedProcess with bytes in stdout and stderr."""
    environment = dict(os.environ, **(env or {}))
    if cache is not None:
        environment["CRIA_CACHE"] = str(cache)
    done = subprocess.run([CRIA, *map(str, arguments)], capture_output=True, env=environment, timeout=600, **options)
    if check and done.returncode != 0:
        raise AssertionError(f"cria {' '.join(map(str, arguments))}: exit {done.returncode}: {done.stderr.decode()}")
    return done


def cria_json(*arguments, **options):
    """What the command answers on stdout, as JSON: --json or -o json must be among the arguments."""
    return json.loads(cria(*arguments, **options).stdout)


class FolderCase(unittest.TestCase):
    """Tests of one class share the folder `root`, which is gone afterwards."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.root = pathlib.Path(folder.name)


def linears(report):
    """The tensors of the layers' linears in the report of `cria compile --json`."""
    return [t for t in report["tensors"] if t["name"].startswith("blk.") and t["shape"][0] > 1]


def file_size_limit(n_bytes):
    """For preexec_fn: writing more than n_bytes to a file fails, as it does on a full disk."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))

    return limit


def read_npy(path):
    """A one-dimensional float32 or float64 array as a list."""
    data = pathlib.Path(path).read_bytes()
    assert data[:6] == b"\x93NUMPY", path
    n_header = struct.unpack_from("<H", data, 8)[0]
    header = ast.literal_eval(data[10 : 10 + n_header].decode())
    n = math.prod(header["shape"])
    code = {"<f4": "f", "<f8": "d"}[header["descr"]]
    return struct.unpack_from(f"<{n}{code}", data, 10 + n_header)


def log_softmax(logits):
    largest = max(logits)
    norm = largest + math.log(math.fsum(math.exp(x - largest) for x in logits))
    return [x - norm for x in logits]


def kl_divergence(reference, logits):
    """KL(reference || logits) in nats."""
    p, q = log_softmax(reference), log_softmax(logits)
    return math.fsum(math.exp(a) * (a - b) for a, b in zip(p, q))
