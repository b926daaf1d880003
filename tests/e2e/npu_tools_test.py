"""What tells people about NPUs: `cria devices`."""

import json
import pathlib
import tempfile
import unittest

from support import REPOSITORY, cria

PROFILES = {path.stem for path in (REPOSITORY / "profiles/npu").glob("*.toml")}


class Devices(unittest.TestCase):
    def test_json_lists_the_cpu_and_every_profile(self):
        devices = json.loads(cria("devices", "--json").stdout)
        self.assertGreaterEqual(devices["cpu"]["n_cores"], 1)
        self.assertEqual({profile["name"] for profile in devices["profiles"]}, PROFILES)
        self.assertEqual(devices["problems"], [])
        for profile in devices["profiles"]:
            self.assertGreater(profile["dram_gb_per_s"], 0)
            self.assertGreater(sum(profile["provenance"].values()), 50)

    def test_people_see_every_profile(self):
        text = cria("devices").stdout.decode()
        for name in PROFILES:
            self.assertIn(f"sim:{name} ", text)

    def test_a_broken_profile_is_left_out_and_told(self):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "broken.toml").write_text("name = 5\n")
            done = cria("devices", env={"CRIA_PROFILES": folder})
            self.assertIn("broken.toml: name: 5", done.stderr.decode())
            self.assertIn("sim:hexagon-v79", done.stdout.decode())


if __name__ == "__main__":
    unittest.main()
