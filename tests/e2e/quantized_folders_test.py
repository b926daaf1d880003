"""cria-tiny as AutoAWQ, GPTQ and EXL2 would store it, read without a detour over floats."""

import json
import shutil
import struct
import unittest

from quantized_layouts import Checkpoint, Exl2, Grouped, float_tensor, with_linears, write_folder
from support import TINY, FolderCase, cria, cria_json, kl_divergence, linears, read_npy

IDS = "2032,72,101,108,108,111,44,32,256,257,119,111,114,108,100,33"
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": False}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
EXL2 = {"quant_method": "exl2", "version": "0.2.4", "bits": 4.0, "head_bits": 6}


class QuantizedFolders(FolderCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.tiny = Checkpoint(TINY)
        cls.weights = {module: cls.tiny.rows(f"{module}.weight") for module in cls.tiny.linears()}
        cls.original = cls.logits(TINY, "f32")

    @classmethod
    def logits(cls, folder, recipe="source"):
        out = cls.root / "logits.npy"
        cria("logits", folder, "--ids", IDS, "--act", "a16", "--quant", recipe, "--npy", out, cache=cls.root / "cache")
        return read_npy(out)

    def report(self, folder, *arguments):
        return cria_json("compile", folder, "-o", self.root / "out.pte", "--json", *arguments)

    def write(self, name, tensors_of, config=None):
        return write_folder(TINY, self.root / name, with_linears(self.tiny, tensors_of), config)

    def float_logits(self, name, made):
        """Of the same model, its quantized weights written as floats."""
        return self.logits(self.write(f"{name}-f32", lambda module: float_tensor(module, made[module].floats())), "f32")

    def assert_nothing_lost(self, folder):
        for tensor in self.report(folder)["tensors"]:
            self.assertEqual(tensor["relative_mse"], 0, tensor)
            self.assertNotIn("note", tensor)

    def test_asymmetric_groups_of_128(self):
        made = {module: Grouped(rows, 4, 128) for module, rows in self.weights.items()}
        expected = self.float_logits("asymmetric", made)
        folders = [
            self.write("awq", lambda module: made[module].awq(module), AWQ),
            self.write("gptq", lambda module: made[module].gptq(module, 1), GPTQ),
            self.write("gptq2", lambda module: made[module].gptq(module, 2), dict(GPTQ, checkpoint_format="gptq_v2")),
        ]
        found = [self.logits(folder) for folder in folders]
        for folder, logits in zip(folders, found):
            self.assert_nothing_lost(folder)
            # The same weights, so only the order of float additions differs: as in the goldens.
            kl = kl_divergence(expected, logits)
            print(f"{folder.name:10} KL {kl:.1e} to its floats, {kl_divergence(self.original, logits):.1e} to the original")
            self.assertLess(kl, 1e-5)
        self.assertEqual(found[0], found[1], "one set of integers, two layouts")
        self.assertEqual(found[0], found[2], "one set of integers, two layouts")

    def test_symmetric_gptq_keeps_four_bits(self):
        made = {module: Grouped(rows, 4, 256, symmetric=True) for module, rows in self.weights.items()}
        folder = self.write("symmetric", lambda module: made[module].gptq(module, 1), dict(GPTQ, group_size=256, sym=True))
        self.assert_nothing_lost(folder)
        encodings = {t["name"]: t["encoding"] for t in self.report(folder)["tensors"]}
        self.assertEqual(encodings["blk.0.ffn_up.weight"], "q4c")  # a group is a row
        self.assertEqual(encodings["blk.0.ffn_down.weight"], "q4g128")
        self.assertLess(kl_divergence(self.float_logits("symmetric", made), self.logits(folder)), 1e-5)

    def test_devices_get_blocks_that_they_take(self):
        made = {module: Grouped(rows, 4, 128) for module, rows in self.weights.items()}
        folder = self.write("device", lambda module: made[module].awq(module), AWQ)
        for device, encoding in (("cpu", "q5g128"), ("sim:rk3588", "q5g128"), ("sim:ane-m4", "q5")):
            tensors = linears(self.report(folder, "--device", device))
            self.assertEqual({t["encoding"] for t in tensors}, {encoding}, device)
            self.assertEqual({t["relative_mse"] for t in tensors}, {0}, device)

    def assert_little_lost(self, folder, made, n_packed):
        """Where columns of several groups share a block: beside what the quantizer lost, what is lost is nothing."""
        report = self.report(folder)
        noted = [t for t in report["tensors"] if "note" in t]
        self.assertEqual(len(noted), n_packed)
        for tensor in noted:
            self.assertIn("several groups", tensor["note"])
            self.assertGreater(tensor["relative_mse"], 0)
        text = cria("compile", folder, "-o", self.root / "out.pte").stderr.decode()
        self.assertIn(f"{n_packed} tensors were rounded anew: columns of several groups", text)
        expected, found = self.float_logits(folder.name, made), self.logits(folder)
        added, quantizers = kl_divergence(expected, found), kl_divergence(self.original, expected)
        print(f"{folder.name:10} KL {added:.1e} to its floats, whose own is {quantizers:.1e}")
        # The step is an eighth of the codes' own or less, so the error's energy, which the KL follows, is 1/64 or less;
        # one position's logits scatter by a few times that.
        self.assertLess(added, quantizers / 8)

    def test_gptq_with_act_order(self):
        made = {module: Grouped(rows, 4, 128, shuffled=7) for module, rows in self.weights.items()}
        folder = self.write("act-order", lambda module: made[module].gptq(module, 1), dict(GPTQ, desc_act=True))
        self.assert_little_lost(folder, made, len(made))

    def test_exl2_of_mixed_widths(self):
        widths = {256: [(8, 32), (6, 64), (5, 64), (4, 64), (3, 32)], 512: [(6, 64), (5, 128), (4, 256), (3, 32), (2, 32)]}
        made = {module: Exl2(rows, widths[len(rows[0])], shuffled=7) for module, rows in self.weights.items()}
        folder = self.write("exl2", lambda module: made[module].exl2(module, short="mlp" in module), EXL2)
        self.assert_little_lost(folder, made, len(made))

    def test_inspect_says_what_it_is(self):
        made = {module: Grouped(rows, 4, 128, symmetric=True) for module, rows in self.weights.items()}
        folder = self.write("inspected", lambda module: made[module].gptq(module, 1), GPTQ)
        llama = cria_json("inspect", folder, "--json")["llama"]
        self.assertIn("GPTQ v1, 4 bits, groups of 128", llama["description"])
        self.assertEqual(llama["quantization"], {"method": "gptq", "version": 1, "bits": 4, "group_size": 128, "act_order": False})
        self.assertIn("GPTQ v1, 4 bits, groups of 128", cria("inspect", folder).stdout.decode())
        self.check_bad_folders(folder, made)

    def check_bad_folders(self, good, made):
        config = json.loads((good / "config.json").read_text())
        data = (good / "model.safetensors").read_bytes()
        module = "model.layers.0.mlp.up_proj"

        def refused(mentions, quantization=None, tensors=None, weights=None):
            folder = self.root / "bad"
            shutil.copytree(good, folder)
            if quantization is not None:
                (folder / "config.json").write_text(json.dumps(dict(config, quantization_config=quantization)))
            if tensors is not None:
                changed = with_linears(self.tiny, lambda name: made[name].gptq(name, 1))
                changed.update(tensors)
                shutil.rmtree(folder)
                write_folder(TINY, folder, changed, GPTQ)
            if weights is not None:
                (folder / "model.safetensors").write_bytes(weights)
            done = cria("compile", folder, "-o", self.root / "bad.pte", check=False)
            self.assertEqual(done.returncode, 1, mentions)
            self.assertEqual(done.stderr.count(b"\n"), 1, done.stderr.decode())
            self.assertIn(mentions, done.stderr.decode())
            self.assertFalse((self.root / "bad.pte").exists())
            shutil.rmtree(folder)

        refused("the file has", weights=data[: len(data) // 2])
        refused("GPTQ of 40 bits", dict(GPTQ, bits=40))
        refused("qweight has shape [32, 256], expected [64, 256]", dict(GPTQ, bits=8))
        refused("scales has shape [2, 256], expected [256, 256]", dict(GPTQ, group_size=1))
        refused('"gptq_p"', dict(GPTQ, checkpoint_format="gptq_p"))
        refused('quantized by "bitsandbytes"', {"quant_method": "bitsandbytes"})
        refused('"gemv_fast"; only gemm', dict(AWQ, version="gemv_fast"))
        refused('"q_weight" is missing', EXL2)
        refused("g_idx has group 2 for column 5, expected 0 to 1",
                tensors={f"{module}.g_idx": ("I32", [256], struct.pack("<256i", *[2 if k == 5 else 0 for k in range(256)]))})
        refused("a block's scale is not finite",
                tensors={f"{module}.scales": ("F16", [2, 512], struct.pack("<1024H", *[0x7C00] * 1024))})


if __name__ == "__main__":
    unittest.main()
