"""`cria compile --budget`: the bytes that are there go where they save the most; and what is asked of devices' groups."""

import signal
import subprocess
import time
import unittest

from support import CALIBRATION, CRIA, HELDOUT, SHARED, TINY, FolderCase, cria, cria_json

GATE = ["--eval", HELDOUT, "--eval-ctx", 256, "--eval-chunks", 16]


class Budget(FolderCase):
    def compile(self, name, *arguments, **options):
        return cria_json("compile", TINY, "-o", self.root / name, "--json", *arguments, **options)

    def test_loses_less_than_the_same_bytes_spread_evenly(self):
        uniform = self.compile("uniform.pte", "--quant", "iq4_xs", *GATE)
        recipe = self.root / "found.toml"
        found = self.compile("found.pte", "--quant", "iq4_xs", "--budget", f"{uniform['file_bytes']}B", "--budget-text", CALIBRATION,
                             "--save-recipe", recipe, *GATE)
        self.assertLessEqual(found["file_bytes"], uniform["file_bytes"])
        self.assertLess(found["quality"]["kl_mean"], uniform["quality"]["kl_mean"])
        budget = found["budget"]
        self.assertLessEqual(found["file_bytes"], budget["file_bytes_at_most"])
        self.assertLessEqual(budget["file_bytes_at_most"], budget["budget_bytes"])
        # What is reported is what was compiled.
        bought = {t["name"]: t["encoding"] for t in budget["tensors"]}
        compiled = {t["name"]: t["encoding"] for t in found["tensors"] if t["shape"][0] > 1}
        self.assertEqual(bought, compiled)
        self.assertGreater(len(set(bought.values())), 1)
        self.assertAlmostEqual(sum(t["kl"] for t in budget["tensors"]), budget["kl"])
        # The recipe file gives the same program, without measuring anything.
        again = self.compile("again.pte", "--quant", recipe)
        self.assertEqual(again["tensors"], found["tensors"])

    def test_every_budget_is_kept_and_more_bytes_lose_less(self):
        kl = []
        for budget, n_bytes in [("1.6MB", 1_600_000), ("1600KiB", 1_638_400), ("4.5bpw", None), ("2.5MB", 2_500_000)]:
            report = self.compile("x.pte", "--budget", budget, "--budget-text", CALIBRATION, "--budget-chunks", 1)
            if n_bytes is None:
                matrices = [t for t in report["tensors"] if t["shape"][0] > 1]
                n_weights = sum(t["shape"][0] * t["shape"][1] for t in matrices)
                self.assertLessEqual(sum(8 * t["bytes"] for t in matrices), 4.5 * n_weights)
            else:
                self.assertEqual(report["budget"]["budget_bytes"], n_bytes)
            self.assertLessEqual(report["file_bytes"], report["budget"]["budget_bytes"], budget)
            kl.append(report["budget"]["kl"])
        self.assertEqual(kl, sorted(kl, reverse=True))
        self.assertLess(kl[-1], kl[0])

    def test_a_device_gets_encodings_that_it_takes(self):
        report = self.compile("x.pte", "--budget", "1.9MB", "--budget-text", CALIBRATION, "--budget-chunks", 1, "--device", "sim:intel-npu-4000")
        for tensor in report["budget"]["tensors"]:
            self.assertRegex(tensor["encoding"], "g(64|128)$")
        self.assertEqual(report["remarks"], [])  # every matrix has an encoding of its own

    def test_impossible_budgets_say_what_is_possible(self):
        text = ["--budget-text", CALIBRATION, "--budget-chunks", 1]
        command = ["compile", TINY, "-o", self.root / "none.pte", *text]
        done = cria(*command, "--budget", "100KB", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr.count(b"\n"), 1)
        self.assertIn(b"is too small", done.stderr)
        least = int(done.stderr.split(b"the program has ")[1].split()[0])
        self.assertEqual(cria(*command, "--budget", f"{least - 1}B", check=False).returncode, 1)
        self.assertFalse((self.root / "none.pte").exists())
        done = cria("compile", TINY, "-o", self.root / "least.pte", *text, "--budget", f"{least}B")
        self.assertLessEqual((self.root / "least.pte").stat().st_size, least)
        # What people see of it.
        for words in [b"token_embd.weight", b"blk.3.ffn_down.weight", b"saved per MB", b"one step more: ", b"one step less: ", b"all in q5"]:
            self.assertIn(words, done.stdout)

    def test_standard_input_is_one_text_for_both(self):
        report = self.compile("x.pte", "--budget", "2MB", "--budget-chunks", 1, "--eval", "-", "--eval-ctx", 128, "--eval-chunks", 1,
                              input=CALIBRATION.read_bytes()[:5000])
        self.assertGreater(report["budget"]["kl"], 0)
        self.assertGreater(report["quality"]["kl_mean"], 0)

    def test_bad_requests(self):
        command = ["compile", TINY, "-o", self.root / "none.pte"]
        text = ["--budget-text", CALIBRATION]
        for wrong in (["--budget", "5 parsecs", *text], ["--budget", "0GB", *text], ["--budget", "-1GB", *text], ["--budget", "nanGB", *text],
                      ["--budget", "1.8", *text], ["--budget", "99bpw", *text], ["--budget", "1MB"], text, ["--save-recipe", "x.toml"],
                      ["--budget", "1MB", *text, "--save-recipe", "x.txt"], ["--budget", "1MB", *text, "--budget-chunks", 0]):
            self.assertEqual(cria(*command, *wrong, check=False).returncode, 2, wrong)
        short = self.root / "short.txt"
        short.write_text("too short")
        recipe = self.root / "own.toml"
        recipe.write_text('base = "q4_0"\n')
        # Texts are looked at before anything is rounded, which would find that 100 KB are too small.
        for wrong, says in ((["--budget", "100KB", "--budget-text", short], b"one window needs"),
                            (["--budget", "100KB", "--budget-text", self.root / "absent"], b"absent"),
                            (["--budget", "100KB", *text, "--eval", self.root / "absent"], b"absent"),
                            (["--budget", "2MB", *text, "--quant", recipe], b"a budget chooses the encodings"),
                            (["--budget", "2MB", *text, "--quant", "q4_0+gptq"], b"--calibration"),
                            (["--budget", "2MB", *text, "--device", "sim:hexagon-v79", "--place", "softmax=cpu"], b"two devices share")):
            done = cria(*command, *wrong, check=False)
            self.assertEqual(done.returncode, 1, wrong)
            self.assertIn(says, done.stderr)
        self.assertEqual([p.name for p in self.root.glob("none*")], [])

    def test_interrupt_leaves_nothing(self):
        out = self.root / "interrupted"
        out.mkdir()
        for sent in (signal.SIGINT, signal.SIGKILL):
            process = subprocess.Popen([CRIA, "compile", str(TINY), "-o", str(out / "x.pte"), "--budget", "1.7MB", "--budget-text", str(CALIBRATION),
                                        "--budget-chunks", "64", "--save-recipe", str(out / "x.toml")], stderr=subprocess.PIPE)
            time.sleep(1.0)  # it takes several seconds
            process.send_signal(sent)
            process.communicate(timeout=60)
            self.assertEqual(process.returncode, 1 if sent == signal.SIGINT else -sent)
            self.assertEqual([p.name for p in out.iterdir()], [])

    def test_codes_cannot_be_measured(self):
        source = SHARED / "gguf" / "q4_k.gguf"
        if not source.exists():
            self.skipTest(f"test data is absent: {source}")
        done = cria("compile", source, "-o", self.root / "none.pte", "--budget", "2MB", "--budget-text", CALIBRATION, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"needs weights in floats", done.stderr)


if __name__ == "__main__":
    unittest.main()
