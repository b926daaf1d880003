"""`cria inflate`: the model that ships, widened, says the same."""

import json
import unittest

from support import REPOSITORY, TINY, FolderCase, cria, cria_json, file_size_limit, kl_divergence, read_npy

GOLDEN = REPOSITORY / "models" / "golden"
N_VOCAB = 2048  # of cria-tiny


class Inflate(FolderCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.large = cls.root / "large"
        cria("inflate", TINY, "--to", "small", "-o", cls.large)

    def logits(self, model, ids, *arguments):
        out = self.root / "logits.npy"
        cria("logits", model, "--ids", ",".join(map(str, ids)), "--npy", out, *arguments, cache=self.root / "cache")
        return read_npy(out)

    def text(self, model, *arguments):
        return cria_json("run", model, "-p", "Once upon a time", "--temp", 0, "-n", 60, "--json", *arguments,
                         cache=self.root / "cache")["text"]

    def test_logits(self):
        for case in sorted(GOLDEN.glob("cria-tiny-*.json")):
            ids = json.loads(case.read_text())["ids"]
            small = self.logits(TINY, ids, "--act", "a16")
            large = self.logits(self.large, ids, "--act", "a16")
            difference = max(abs(a - b) for a, b in zip(small, large))
            print(f"{case.name}: logits up to {max(map(abs, small)):.1f}, largest difference {difference:.1e}")
            # Sums in another order, by some 2^-22; and where that turns the rounding of a number in the KV cache, by 2^-11
            # of one of the 64 numbers of a head, of one of the positions.
            self.assertLess(difference, 2**-11 * max(map(abs, small)))
            self.assertLess(max(large[N_VOCAB:]), -1e3)

    def test_greedy_text(self):
        # Not with 8-bit activations: a difference of 2^-24 may turn the rounding of one of them, which moves a logit by as much
        # as the 8 bits lose, here 0.1, and then a near tie.
        for recipe in ("source", "q8", "q4"):
            with self.subTest(recipe=recipe):
                arguments = ("--quant", recipe, "--act", "a16")
                self.assertEqual(self.text(TINY, *arguments), self.text(self.large, *arguments))

    def test_eight_bit_activations(self):
        ids = json.loads((GOLDEN / "cria-tiny-0.json").read_text())["ids"]
        exact, small, large = (self.logits(model, ids, "--act", act)[:N_VOCAB]
                               for model, act in ((TINY, "a16"), (TINY, "a8"), (self.large, "a8")))
        # Neither is better than the other.
        self.assertLess(kl_divergence(exact, large), 3 * kl_divergence(exact, small) + 1e-6)

    def test_sampling_never_leaves_the_small_vocabulary(self):
        ids = cria_json("run", self.large, "-p", "Once", "-n", 200, "--temp", 50, "--top-k", 0, "--top-p", 1, "--min-p",
                        0, "--ignore-eos", "--json", cache=self.root / "cache")["ids"]
        self.assertGreater(len(set(ids)), 100)
        self.assertLess(max(ids), N_VOCAB)

    def test_inflating_twice_gives_the_same_bytes(self):
        again = self.root / "again"
        cria("inflate", TINY, "--to", "small", "-o", again)
        for file in sorted(self.large.iterdir()):
            self.assertEqual(file.read_bytes(), (again / file.name).read_bytes(), file.name)

    def test_errors_leave_nothing(self):
        for arguments, options in ((["--to", "small", "-o", self.large], {}),
                                   (["--to", "small", "-o", self.root / "full"], {"preexec_fn": file_size_limit(500_000)})):
            before = sorted(p.name for p in self.root.iterdir())
            done = cria("inflate", TINY, *arguments, check=False, **options)
            self.assertEqual((done.returncode, done.stderr.count(b"\n")), (1, 1), done.stderr)
            self.assertEqual(before, sorted(p.name for p in self.root.iterdir()))
        self.assertEqual(cria("inflate", TINY, "--to", "7b", "-o", self.root / "x", check=False).returncode, 2)


if __name__ == "__main__":
    unittest.main()
