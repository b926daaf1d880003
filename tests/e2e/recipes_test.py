"""Recipes with methods, from the model that ships to its divergence from itself."""

import json
import shutil
import struct
import tomllib
import unittest

from support import CALIBRATION, DRAFT, HELDOUT, REPOSITORY, TINY, FolderCase, cria, cria_json, linears


class Recipes(FolderCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.plain = cls.root / "plain.pte"
        cria("compile", TINY, "-o", cls.plain, "--quant", "f32")

    def compile(self, recipe, *arguments, name=None):
        out = self.root / f"{name or recipe}.pte"
        return out, cria_json("compile", TINY, "-o", out, "--quant", recipe, "--json", *arguments)

    def divergence(self, pte, *arguments):
        """From the model in floats."""
        return cria_json("eval", pte, "--reference", self.plain, "--text", HELDOUT, "-c", 128, "--chunks", 4, "--json",
                         *arguments)["kl_mean"]

    def test_transformations_are_exact(self):
        for recipe in ["f32+fold", "f32+rotate"]:
            with self.subTest(recipe=recipe):
                changed, report = self.compile(recipe)
                # Float rounding only: of weights that were edited in float, and of other sums.
                self.assertLess(self.divergence(changed, "--act", "a16"), 1e-5)
                self.assertEqual({t["method"] for t in report["tensors"]}, {"floats", ""})

    def test_a_rotated_model_in_four_bits_still_is_the_model(self):
        for act in ["a8", "a16"]:
            rotated, report = self.compile("q4_0+rotate", "--act", act, name=f"rotated_{act}")
            self.assertLess(self.divergence(rotated), 0.1)
            names = {t["name"] for t in report["tensors"]}
            self.assertIn("rotation.residual.signs", names)
            self.assertEqual("rotation.ffn_input.signs" in names, act == "a8")

    def test_a_recipe_file_gives_layers_their_own_encodings(self):
        recipe = self.root / "mixed.toml"
        recipe.write_text('base = "q4_0"\n[[rule]]\ntensors = "ffn_*"\nlayers = [0, -1]\nencoding = "q8"\n'
                          '[[rule]]\ntensors = "token_embd"\nencoding = "q6k"\n')
        _, report = self.compile(recipe, name="mixed")
        encodings = {t["name"]: t["encoding"] for t in report["tensors"]}
        self.assertEqual(encodings["blk.0.ffn_up.weight"], "q8")
        self.assertEqual(encodings["blk.1.ffn_up.weight"], "q4")
        self.assertEqual(encodings["blk.3.ffn_down.weight"], "q8")
        self.assertEqual(encodings["blk.0.attn_q.weight"], "q4")
        self.assertEqual(encodings["token_embd.weight"], "q6k")

    def test_recipe_files_that_do_not_fit_are_refused(self):
        recipe = self.root / "bad.toml"
        for text, expected in [('base = "q4_0"\n[[rule]]\ntensors = "mlp*"\nencoding = "q8"\n', b"names no tensor"),
                               ('base = "q4_0"\n[[rule]]\nlayers = [0]\nencoding = "q8"\n', b"'tensors' is missing"),
                               ("base = ", b"line 1")]:
            recipe.write_text(text)
            done = cria("compile", TINY, "-o", self.root / "x.pte", "--quant", recipe, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn(expected, done.stderr)
            self.assertIn(b"bad.toml", done.stderr)
            self.assertFalse((self.root / "x.pte").exists())

    def test_statistics_lower_the_divergence(self):
        statistics = self.root / "stats"
        cria("calibrate", TINY, "--text", CALIBRATION, "--chunks", 12,
             "-o", statistics, cache=self.root / "cache")
        kl = {}
        for recipe in ["q3", "q3+awq", "q3+gptq", "q3+rotate", "q3+rotate+gptq", "e8p2+rotate", "e8p2+quip"]:
            feedback = "gptq" in recipe or "quip" in recipe
            calibration = ["--calibration", statistics] if feedback or "awq" in recipe else []
            pte, report = self.compile(recipe, *calibration)
            kl[recipe] = self.divergence(pte)
            self.assertEqual("gptq" in {t["method"] for t in report["tensors"]}, feedback)
            if recipe in ("q3+awq", "q3+rotate+gptq", "e8p2+quip"):  # each method is in one of them
                again, _ = self.compile(recipe, *calibration, "-t", 1, name="again")
                self.assertEqual(pte.read_bytes(), again.read_bytes(), recipe)
        # On the whole held-out text GPTQ more than halves it (docs/quality.md); four windows are noisier.
        self.assertLess(kl["q3+gptq"], kl["q3"])
        self.assertLess(kl["q3+awq"], kl["q3"])
        self.assertLess(kl["q3+rotate+gptq"], kl["q3+rotate"])
        self.assertLess(kl["e8p2+quip"], kl["e8p2+rotate"])

    def test_every_device_takes_the_defaults(self):
        # By the narrowest and the widest groups of a device: linears, keys, values.
        expected = {(32, 128): {"q4": ("q4nlk", "q5", "q5g128"), "q5": ("q5", "q5", "q5")},
                    (32, 32): {"q4": ("q4nlk", "q5", "q5"), "q5": ("q5", "q5", "q5")},
                    (64, 128): {"q4": ("q4nlg64", "q5g64", "q5g128"), "q5": ("q5g64", "q5g64", "q5g64")},
                    (128, 128): {"q4": ("q4nlg128", "q5g128", "q5g128"), "q5": ("q5g128", "q5g128", "q5g128")}}
        groups = {}
        for path in sorted((REPOSITORY / "profiles" / "npu").glob("*.toml")):
            sizes = tomllib.loads(path.read_text())["limits"]["group_sizes"]["value"]
            taken = [n for n in sizes if 32 <= n <= 128]  # 0: a scale a row
            groups[path.stem] = min(taken), max(taken)
        self.assertEqual(set(groups.values()), set(expected))
        for profile, sizes in groups.items():
            for recipe, (encoding, keys, values) in expected[sizes].items():
                _, report = self.compile(recipe, "--device", f"sim:{profile}", "--prefill-chunk", 16, name="device")
                for t in linears(report):
                    own = keys if "attn_k" in t["name"] else values if "attn_v" in t["name"] else encoding
                    self.assertEqual(t["encoding"], own, profile)

    def test_two_bits_come_with_a_warning(self):
        for recipe, n_matrices in [("e8p2", 28), ("q2_k", 28), ("e8p3", 0)]:
            done = cria("compile", TINY, "-o", self.root / "two_bits.pte", "--quant", recipe)
            self.assertEqual(f"warning: {n_matrices} matrices have 2 bits".encode() in done.stderr, n_matrices > 0, recipe)
            self.assertEqual(b"warning" in done.stderr, n_matrices > 0, recipe)

    def test_weights_that_are_not_finite_are_refused(self):
        model, out = self.root / "not_finite", self.root / "x.pte"
        shutil.copytree(TINY, model)
        tensors = model / "model.safetensors"
        whole = tensors.read_bytes()
        (n_header,) = struct.unpack_from("<Q", whole)
        header = json.loads(whole[8 : 8 + n_header])
        for name, where in [("model.layers.1.mlp.down_proj.weight", ", row 0"), ("model.layers.2.input_layernorm.weight", "")]:
            self.assertEqual(header[name]["dtype"], "BF16")
            at = 8 + n_header + header[name]["data_offsets"][0] + 2 * 5
            for bits, value in [(0x7FC0, "nan"), (0xFF80, "-inf")]:
                tensors.write_bytes(whole[:at] + struct.pack("<H", bits) + whole[at + 2 :])
                message = f"{name}{where}: column 5 is {value}, expected a finite number".encode()
                # e8p2+quip and awq have nothing to go by: the statistics cannot be made.
                for arguments in [["compile", model, "-o", out, "--quant", "e8p2"],
                                  ["compile", model, "-o", out, "--quant", "e8p2+rotate"],
                                  ["calibrate", model, "--text", CALIBRATION, "--chunks", 1, "-o", out]]:
                    done = cria(*arguments, check=False, cache=self.root / "not_finite_cache")
                    self.assertEqual(done.returncode, 1, arguments)
                    self.assertIn(message, done.stderr)
                    self.assertFalse(out.exists())
                    self.root.joinpath("x.pte.calibrating").unlink(missing_ok=True)

    def test_statistics_of_another_model_are_refused(self):
        statistics = self.root / "draft_stats"
        cria("calibrate", DRAFT, "--text", CALIBRATION, "--chunks", 1,
             "-o", statistics, cache=self.root / "cache")
        for recipe in ["q3+gptq", "q3+awq"]:
            done = cria("compile", TINY, "-o", self.root / "x.pte", "--quant", recipe, "--calibration", statistics,
                        check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn(str(statistics).encode(), done.stderr)
            self.assertFalse((self.root / "x.pte").exists())

    def test_a_compile_can_be_measured_and_held_to_limits(self):
        gate = ["--eval", HELDOUT, "--eval-ctx", 128, "--eval-chunks", 4]
        pte, report = self.compile("q4_0", *gate, "--max-kl", 0.5, "--max-ppl-loss", 50)
        quality = report["quality"]
        # What `cria eval` says of the same pair.
        separate = cria_json("eval", pte, "--reference", TINY, "--text", HELDOUT, "-c", 128, "--chunks", 4, "--json",
                             cache=self.root / "cache")
        self.assertEqual(quality, separate)
        self.assertGreater(quality["kl_mean"], 0)
        unmeasured, _ = self.compile("q4_0", name="unmeasured")
        self.assertEqual(pte.read_bytes(), unmeasured.read_bytes())
        # People see it, too, and the error of each layer.
        done = cria("compile", TINY, "-o", self.root / "measured.pte", "--quant", "q4_0", *gate)
        self.assertIn(f"{quality['kl_mean']:.6f}".encode(), done.stdout)
        for layer in range(4):
            self.assertIn(f"layer {layer} ".encode(), done.stderr)

    def test_methods_that_need_statistics_say_so(self):
        for recipe in ["q4_0+gptq", "q4_0+importance", "q4_0+awq", "q4_0+clip"]:
            done = cria("compile", TINY, "-o", self.root / "x.pte", "--quant", recipe, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"needs statistics of the inputs: --calibration", done.stderr)
            self.assertFalse((self.root / "x.pte").exists())
        for recipe in ["q4_0+magic", "source+rotate", "f32+awq", "f16+gptq"]:
            done = cria("compile", TINY, "-o", self.root / "x.pte", "--quant", recipe, check=False)
            self.assertEqual(done.returncode, 2, recipe)


if __name__ == "__main__":
    unittest.main()
