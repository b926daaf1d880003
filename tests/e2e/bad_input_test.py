"""Bad input: one clear error line, exit code 1, nothing left behind, never a crash."""

import json
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import unittest

from support import CRIA, HELDOUT, SHARED, TINY, cria, file_size_limit


class BadInput(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)

    def assert_fails(self, *arguments, mentions="", **options):
        """Exit code 1 and exactly one line on stderr."""
        done = cria(*arguments, check=False, cache=self.root / "cache", **options)
        self.assertEqual(done.returncode, 1, f"{arguments}: {done.stderr.decode()}")
        self.assertEqual(done.stderr.count(b"\n"), 1, done.stderr.decode())
        self.assertTrue(done.stderr.startswith(b"cria: "), done.stderr)
        self.assertIn(mentions, done.stderr.decode())
        return done.stderr.decode()

    def copy_of_tiny(self):
        copy = self.root / "model"
        shutil.copytree(TINY, copy)
        return copy

    def assert_nothing_left(self, folder):
        self.assertEqual([p.name for p in folder.iterdir()], [])

    def test_missing_and_foreign_files(self):
        self.assert_fails("run", self.root / "absent.gguf", "-p", "x", mentions="absent.gguf")
        (self.root / "text.gguf").write_text("this is not a model")
        self.assert_fails("run", self.root / "text.gguf", "-p", "x", mentions="text.gguf")
        (self.root / "empty").write_bytes(b"")
        self.assert_fails("inspect", self.root / "empty")

    def test_wrong_usage(self):
        for arguments in (["run"], ["run", "x"], ["compile", "x"], ["run", "x", "-p", "y", "--quant", "q99"], ["nonsense"],
                          ["bench", "x", "-o", "xml"], ["logits", "x"], []):
            done = cria(*arguments, check=False)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertNotEqual(done.stderr, b"")

    def test_truncated_pte(self):
        pte = self.root / "tiny.pte"
        cria("compile", TINY, "-o", pte, "--quant", "q4")
        whole = pte.read_bytes()
        for share in (0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.999):
            pte.write_bytes(whole[: int(len(whole) * share)])
            self.assert_fails("run", pte, "-p", "Once", "-n", 2)

    def test_flipped_pte(self):
        pte = self.root / "tiny.pte"
        cria("compile", TINY, "-o", pte, "--quant", "q4")
        whole = bytearray(pte.read_bytes())
        dice = random.Random(1)
        for _ in range(40):
            at = dice.randrange(min(len(whole), 16384))
            flipped = bytearray(whole)
            flipped[at] ^= 1 << dice.randrange(8)
            pte.write_bytes(flipped)
            done = cria("run", pte, "-p", "Once", "-n", 2, check=False)
            self.assertIn(done.returncode, (0, 1), f"byte {at}: {done.returncode} {done.stderr.decode()[-500:]}")

    def test_damaged_checkpoints(self):
        model = self.copy_of_tiny()
        weights = (model / "model.safetensors").read_bytes()
        (model / "model.safetensors").write_bytes(weights[: len(weights) // 2])
        self.assert_fails("compile", model, "-o", self.root / "x.pte")
        (model / "model.safetensors").write_bytes(struct.pack("<Q", 2**60) + weights[8:])
        self.assert_fails("compile", model, "-o", self.root / "x.pte")
        (model / "model.safetensors").unlink()
        self.assert_fails("compile", model, "-o", self.root / "x.pte", mentions="model.safetensors")
        self.assertFalse((self.root / "x.pte").exists())

    def test_wrong_configs(self):
        model = self.copy_of_tiny()
        config = json.loads((model / "config.json").read_text())
        for change, mentions in (({"model_type": "mistral"}, "mistral"), ({"num_hidden_layers": 10**9}, ""),
                                 ({"num_hidden_layers": 99}, ""), ({"hidden_size": 0}, "hidden"),
                                 ({"hidden_size": 512}, ""), ({"num_key_value_heads": 3}, ""), ({"vocab_size": -5}, ""),
                                 ({"rope_scaling": {"rope_type": "yarn", "factor": 2}}, "yarn"),
                                 ({"head_dim": 63}, "")):
            with self.subTest(change=change):
                (model / "config.json").write_text(json.dumps({**config, **change}))
                self.assert_fails("compile", model, "-o", self.root / "x.pte", mentions=mentions)
        (model / "config.json").write_text("{" * 100000)
        self.assert_fails("compile", model, "-o", self.root / "x.pte", mentions="config.json")

    def test_damaged_gguf(self):
        source = SHARED / "gguf" / "q4_k.gguf"
        if not source.exists():
            self.skipTest(f"test data is absent: {source}")
        whole = source.read_bytes()
        dice = random.Random(2)
        model = self.root / "damaged.gguf"
        for n_bytes in (3, 20, 1000, 5000, len(whole) - 1):
            model.write_bytes(whole[:n_bytes])
            self.assert_fails("logits", model, "--ids", "1,2")
        for _ in range(30):
            flipped = bytearray(whole)
            flipped[dice.randrange(16384)] ^= 1 << dice.randrange(8)
            model.write_bytes(flipped)
            done = cria("logits", model, "--ids", "1,2", check=False, cache=self.root / "cache")
            self.assertIn(done.returncode, (0, 1), done.stderr.decode()[-500:])

    def test_context_and_ids(self):
        pte = self.root / "tiny.pte"
        cria("compile", TINY, "-o", pte, "--quant", "q4", "--ctx", 64)
        self.assert_fails("run", pte, "-p", "Once upon a time there was " * 30, "-n", 2, mentions="64")
        self.assert_fails("run", pte, "-p", "Once", "-c", 65, mentions="64")
        self.assert_fails("logits", pte, "--ids", "1,99999999", mentions="99999999")
        self.assert_fails("logits", pte, "--ids=-1")
        self.assert_fails("eval", pte, "--text", "/dev/null", "-c", 32)

    def test_unwritable_cache(self):
        blocker = self.root / "file"
        blocker.write_text("")
        done = cria("run", TINY, "-p", "Once", check=False, env={"CRIA_CACHE": str(blocker / "cache")})
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr.count(b"\n"), 1)
        self.assertIn(b"cache folder", done.stderr)

    def test_full_disk(self):
        out = self.root / "out"
        out.mkdir()
        self.assert_fails("compile", TINY, "-o", out / "x.pte", "--quant", "q8", preexec_fn=file_size_limit(500_000))
        self.assert_nothing_left(out)
        self.assert_fails("compile", TINY, "-o", self.root / "no" / "such" / "x.pte", mentions="no/such")

    def test_compile_keeps_the_old_file_when_it_fails(self):
        out = self.root / "out"
        out.mkdir()
        (out / "x.pte").write_bytes(b"precious")
        self.assert_fails("compile", TINY, "-o", out / "x.pte", preexec_fn=file_size_limit(500_000))
        self.assertEqual((out / "x.pte").read_bytes(), b"precious")
        self.assertEqual([p.name for p in out.iterdir()], ["x.pte"])

    def test_interrupt_leaves_nothing(self):
        out = self.root / "out"
        out.mkdir()
        process = subprocess.Popen([CRIA, "compile", str(TINY), "-o", str(out / "x.pte"), "--quant", "q4"],
                                   stderr=subprocess.PIPE)
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        left = [p.name for p in out.iterdir()]
        self.assertIn(left, ([], ["x.pte"]))
        # Killed by the signal itself if it came before the command had started to listen.
        self.assertIn(process.returncode, [0] if left else [1, -signal.SIGINT])

    def test_what_loses_too_much_is_not_written(self):
        out = self.root / "out"
        out.mkdir()
        (self.root / "short.txt").write_text("too short")
        gate = ["--eval", HELDOUT, "--eval-ctx", 64, "--eval-chunks", 2]
        command = ["compile", TINY, "-o", out / "x.pte", "--quant", "q2_k"]
        self.assert_fails(*command, *gate, "--max-kl", 1e-6, mentions="mean KL")
        self.assert_fails(*command, *gate, "--max-ppl-loss", 0, mentions="of the source's")
        self.assert_fails(*command, "--eval", self.root / "short.txt", mentions="one window needs")
        self.assert_fails(*command, "--eval", self.root / "absent.txt", mentions="absent.txt")
        self.assert_fails(*command, "--eval", HELDOUT, "--eval-ctx", 1 << 20, mentions="1048576")
        self.assert_nothing_left(out)
        (out / "x.pte").write_bytes(b"precious")
        self.assert_fails(*command, *gate, "--max-kl", 1e-6)
        self.assertEqual((out / "x.pte").read_bytes(), b"precious")
        for wrong in (["--max-kl", 1], ["--max-ppl-loss", 1], ["--eval-ctx", 64], ["--eval-chunks", 1],
                      [*gate, "--max-kl", -1], [*gate, "--max-ppl-loss", "much"]):
            done = cria(*command, *wrong, check=False)
            self.assertEqual(done.returncode, 2, wrong)

    def test_interrupt_while_it_is_measured_leaves_nothing(self):
        out = self.root / "out"
        out.mkdir()
        for end in (signal.SIGINT, signal.SIGKILL):
            process = subprocess.Popen([CRIA, "compile", str(TINY), "-o", str(out / "x.pte"), "--quant", "q8", "--eval", str(HELDOUT)],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            time.sleep(0.5)
            process.send_signal(end)
            process.communicate(timeout=60)
            self.assertNotEqual(process.returncode, 0)
            self.assert_nothing_left(out)

    def test_closed_output(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        pte = self.root / "tiny.pte"
        cria("compile", TINY, "-o", pte, "--quant", "q4")
        with open("/dev/full", "wb") as full:
            done = subprocess.run([CRIA, "run", str(pte), "-p", "Once", "-n", "3"], stdout=full, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"standard output", done.stderr)


if __name__ == "__main__":
    unittest.main()
