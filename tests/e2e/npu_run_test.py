"""Programs for a simulated NPU: `cria compile --device sim:X`, `cria inspect --commands`, `cria run`."""

import json
import pathlib
import tempfile
import unittest

from support import TINY, cria


class Programs(unittest.TestCase):
    """One program for the CPU and one for an NPU, of the same model."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.root = pathlib.Path(cls.folder.name)
        cls.cpu = cls.compile("cpu.pte", "--device", "cpu")
        cls.npu = cls.compile("npu.pte", "--device", "sim:hexagon-v79")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def compile(cls, name, *arguments):
        path = cls.root / name
        cria("compile", TINY, "-o", path, "--quant", "q4", "--prefill-chunk", 16, *arguments)
        return path


class Commands(Programs):
    def streams(self, *arguments):
        return json.loads(cria("inspect", self.npu, "--commands", "--json", *arguments).stdout)["streams"]

    def test_every_method_has_its_stream(self):
        self.assertEqual([s["method"] for s in self.streams()], ["prefill", "decode", "verify"])

    def test_commands_tell_what_they_move(self):
        (stream,) = self.streams("--method", "decode")
        self.assertEqual((stream["device"], stream["max_tokens"]), ("sim:hexagon-v79", 1))
        commands = stream["commands"]
        self.assertEqual([c["index"] for c in commands], list(range(stream["n_commands"])))
        self.assertEqual({c["engine"] for c in commands}, {"weight_dma", "data_dma", "matrix", "vector"})
        buffers = {b["name"] for b in stream["buffers"]}
        for command in commands:
            for access in command["reads"] + command["writes"]:
                if access["memory"] != "sram":
                    continue
                self.assertIn(access["buffer"], buffers)
                self.assertLessEqual(access["at"] + access["bytes"], stream["sram_bytes"])
        # Every weight byte is loaded exactly once in a step, but for the embedding, of which a row is.
        loaded = sum(c["reads"][0]["bytes"] for c in commands if c["command"] == "load_weight")
        data = json.loads(cria("inspect", self.npu, "--json").stdout)["named_data"]
        self.assertEqual(loaded, sum(d["bytes"] for d in data if d["encoding"]))

    def test_people_see_a_line_a_command(self):
        lines = cria("inspect", self.npu, "--commands", "--method", "decode").stdout.decode().splitlines()
        self.assertTrue(any("matmul" in line and "blk.3.attn_v.weight" in line for line in lines))
        self.assertTrue(any(line.strip().startswith("for each two tiles of the cache") for line in lines))

    def test_a_program_of_the_cpu_has_none(self):
        done = cria("inspect", self.cpu, "--commands", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("has no commands of an NPU", done.stderr.decode())


if __name__ == "__main__":
    unittest.main()
