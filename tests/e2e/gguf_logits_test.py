"""`cria logits` against float64 reference logits, for one model in every GGUF type.

With float activations each file must be as its reference says up to rounding (KL <= 1e-4 nats). With 8-bit activations the
loss is held against llama.cpp's on the same files.
"""

import math
import pathlib
import tempfile
import unittest

from support import SHARED, cria, kl_divergence, read_npy, require

IDS = "273,72,101,108,108,111,44,32,256,257,119,111,114,108,100,33"
# KL divergence of llama.cpp (September 2026, AVX-512 build) on the same files.
LLAMA_CPP = {
    "q4_0": 1.0e-3, "q4_1": 1.4e-3, "q5_0": 1.1e-3, "q5_1": 2.0e-3, "q8_0": 9.7e-4, "q2_k": 6.1e-3, "q3_k": 7.1e-3,
    "q4_k": 4.4e-3, "q5_k": 2.0e-3, "q6_k": 6.5e-3, "iq4_nl": 6.4e-4, "iq4_xs": 2.7e-3, "mxfp4": 3.1e-3,
}
FILES = ["f16", "bf16", *LLAMA_CPP]


def kl_of(name, activations, folder):
    out = pathlib.Path(folder) / "logits.npy"
    cria("logits", SHARED / "gguf" / f"{name}.gguf", "--ids", IDS, "--act", activations, "--npy", out,
         cache=pathlib.Path(folder) / "cache")
    return kl_divergence(read_npy(SHARED / "gguf" / f"{name}.npy"), read_npy(out))


class GgufLogits(unittest.TestCase):
    def test_float_activations_lose_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in FILES:
                with self.subTest(file=name):
                    kl = kl_of(name, "a16", folder)
                    print(f"a16 {name:8} KL {kl:.2e}")
                    self.assertLessEqual(kl, 1e-4)

    def test_int8_activations_lose_no_more_than_llama_cpp(self):
        logs = []
        with tempfile.TemporaryDirectory() as folder:
            for name, theirs in LLAMA_CPP.items():
                with self.subTest(file=name):
                    kl = kl_of(name, "a8", folder)
                    print(f"a8  {name:8} KL {kl:.2e}, llama.cpp {theirs:.2e}")
                    self.assertLessEqual(kl, 3 * theirs)
                    logs.append(math.log(kl))
        mean = math.exp(sum(logs) / len(logs))
        theirs = math.exp(sum(map(math.log, LLAMA_CPP.values())) / len(LLAMA_CPP))
        print(f"a8  geometric mean {mean:.2e}, llama.cpp {theirs:.2e}")
        self.assertEqual(len(logs), 13)
        self.assertLessEqual(mean, theirs)


if __name__ == "__main__":
    require(SHARED / "gguf")
    unittest.main()
