"""What tells people about NPUs and power: `cria devices`, `cria bench --power-profile`."""

import json
import pathlib
import tempfile
import unittest

from support import REPOSITORY, TINY, cria

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


class Power(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.folder.name)

    def tearDown(self):
        self.folder.cleanup()

    def bench(self, *arguments):
        done = cria("bench", TINY, "-p", 0, "-n", 4, "-r", 1, "--no-machine", "-o", "json", *arguments, cache=self.root)
        return json.loads(done.stdout), done.stderr.decode()

    def test_each_profile_has_its_row(self):
        rows, notes = self.bench("--power-profile", "high_performance,balanced,low_power", "--sysfs", self.root)
        self.assertEqual([row["power_profile"] for row in rows], ["high_performance", "balanced", "low_power"])
        for row in rows:
            self.assertGreater(row["cpu_seconds_per_token"], 0)
            self.assertEqual((row["joules_per_token"], row["energy_source"]), (0, ""))
        # Four steps start at least a tenth of a second apart; the warm-up is one more.
        self.assertGreater(rows[2]["avg_ns"], 0.3e9)
        self.assertEqual(notes.count("energy is not measured"), 1)

    def test_energy_is_read_from_powercap(self):
        zone = self.root / "class/powercap/intel-rapl:0"
        zone.mkdir(parents=True)
        for name, text in (("name", "package-0"), ("energy_uj", "5"), ("max_energy_range_uj", "1000")):
            (zone / name).write_text(text + "\n")
        rows, notes = self.bench("--sysfs", self.root)
        self.assertEqual(rows[0]["energy_source"], "powercap: package-0")
        self.assertEqual(rows[0]["joules_per_token"], 0)  # the counter stood still
        self.assertNotIn("energy is not measured", notes)

    def test_another_profile_is_wrong_usage(self):
        done = cria("bench", TINY, "--power-profile", "warp", check=False)
        self.assertEqual(done.returncode, 2)


if __name__ == "__main__":
    unittest.main()
