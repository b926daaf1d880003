#include "format/npu_profile/npu_profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>

namespace cria {
namespace {

using testing::HasSubstr;

const std::string kFolder = CRIA_SOURCE_DIR "/profiles/npu/";

std::string reference_text() {
  const auto file = load_npu_profile(kFolder + "hexagon-v79.toml");
  EXPECT_TRUE(file.ok()) << file.status().message();
  return file->text;
}

// The reference with the value of one field replaced.
std::string with_value(const std::string& line_start, const std::string& old_value,
                       const std::string& new_value) {
  std::string text = reference_text();
  const std::size_t line = text.find("\n" + line_start);
  EXPECT_NE(line, std::string::npos) << line_start;
  const std::size_t at = text.find(old_value, line);
  EXPECT_NE(at, std::string::npos) << old_value;
  return text.replace(at, old_value.size(), new_value);
}

void expect_refused(const std::string& text, const std::vector<std::string>& parts) {
  const auto profile = parse_npu_profile(text, "x.toml");
  ASSERT_FALSE(profile.ok()) << parts[0];
  EXPECT_EQ(profile.status().code(), ErrorCode::kBadInput);
  EXPECT_THAT(profile.status().message(), HasSubstr("x.toml"));
  for (const std::string& part : parts) EXPECT_THAT(profile.status().message(), HasSubstr(part));
}

TEST(NpuProfile, EveryShippedProfileReadsAndSaysWhereItsNumbersComeFrom) {
  int n_profiles = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
    const auto file = load_npu_profile(entry.path().string());
    ASSERT_TRUE(file.ok()) << file.status().message();
    EXPECT_EQ(file->profile.name, entry.path().stem().string());
    EXPECT_GT(file->profile.sources.size(), 55u);
    for (const FieldSource& source : file->profile.sources) EXPECT_FALSE(source.source.empty());
    ++n_profiles;
  }
  EXPECT_GE(n_profiles, 8);
}

TEST(NpuProfile, TheDocumentNamesEveryField) {
  std::ifstream file(CRIA_SOURCE_DIR "/docs/npu-profiles.md");
  const std::string page{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const auto profile = parse_npu_profile(reference_text(), "x.toml");
  ASSERT_TRUE(profile.ok());
  for (const FieldSource& source : profile->sources) {
    const bool per_mode = source.field.ends_with("_pj_per_mac");
    EXPECT_THAT(page, HasSubstr(per_mode ? "`energy.MODE_pj_per_mac`" : "`" + source.field + "`"));
  }
}

TEST(NpuProfile, TheReferenceHasThePublishedPeaks) {
  const auto profile = parse_npu_profile(reference_text(), "x.toml");
  ASSERT_TRUE(profile.ok()) << profile.status().message();
  EXPECT_NEAR(2 * profile->peak_macs_per_s(MatrixMode::kA8W4, 0) / 1e12, 39.6, 0.1);
  EXPECT_NEAR(2 * profile->peak_macs_per_s(MatrixMode::kF16, 0) / 1e12, 17.0, 0.1);
  EXPECT_NEAR(profile->dram_bytes_per_s(0) / 1e9, 63.3, 0.1);
  EXPECT_FALSE(profile->matrix.mode(MatrixMode::kA16W8).has_value());
}

TEST(NpuProfile, EfficiencyIsInterpolated) {
  NpuDma dma;
  dma.efficiency = {{1024, 0.25}, {4096, 0.75}};
  EXPECT_DOUBLE_EQ(dma.share(0), 0.25);
  EXPECT_DOUBLE_EQ(dma.share(1024), 0.25);
  EXPECT_DOUBLE_EQ(dma.share(2048), 0.5);
  EXPECT_DOUBLE_EQ(dma.share(4096), 0.75);
  EXPECT_DOUBLE_EQ(dma.share(1e12), 0.75);
}

TEST(NpuProfile, BadValuesAreRefusedWithFieldValueAndRange) {
  const auto replaced = [](const char* line, const char* old_value, const char* new_value) {
    return with_value(line, old_value, new_value);
  };
  expect_refused(replaced("latency_ns", "2000", "-5"),
                 {"dma.latency_ns", "-5", "from 0 to 10000000"});
  expect_refused(replaced("latency_ns", "2000", "nan"), {"dma.latency_ns", "nan"});
  expect_refused(replaced("latency_ns", "2000", "inf"), {"dma.latency_ns", "inf"});
  expect_refused(replaced("latency_ns", "2000", "1e30"), {"dma.latency_ns", "1e+30"});
  expect_refused(replaced("latency_ns", "2000", "\"fast\""), {"dma.latency_ns", "\"fast\""});
  expect_refused(replaced("contexts", "6", "6.5"), {"vector.contexts", "6.5", "an integer"});
  expect_refused(replaced("contexts", "6", "0"), {"vector.contexts", "from 1 to 1024"});
  expect_refused(replaced("background_share", "0.05", "1.5"), {"dram.background_share", "1.5"});
  expect_refused(replaced("align_bytes", "128", "96"),
                 {"limits.align_bytes", "96", "power of two"});
  expect_refused(replaced("npu_cap_gb_per_s", "63.3", "99"),
                 {"dram.npu_cap_gb_per_s", "99", "84.8"});
  expect_refused(replaced("group_sizes", "[0, 32, 64, 128]", "[]"),
                 {"limits.group_sizes", "empty"});
  expect_refused(replaced("group_sizes", "[0, 32", "[-1, 32"), {"limits.group_sizes[0]", "-1"});
  expect_refused(replaced("static_shapes", "true", "1"), {"limits.static_shapes", "true or false"});
  expect_refused(replaced("low_power", "clock_state = 2", "clock_state = 9"),
                 {"power.low_power.clock_state", "9"});
  expect_refused(replaced("low_power", "batch = 1024", "batch = 4096"),
                 {"power.low_power.batch", "4096"});
  expect_refused(replaced("year", "2024", "20"), {"year", "20"});
  expect_refused(replaced("status", "fitted", "great"), {"status", "great"});
  expect_refused(replaced("name", "hexagon-v79", "a b"), {"name", "a b"});
}

TEST(NpuProfile, ListsMustBeOrdered) {
  expect_refused(with_value("  { name = \"nominal\"", "1731", "3000"),
                 {"clock.states[1]", "nominal"});
  expect_refused(with_value("  { transfer_bytes = 65536", "65536", "100"),
                 {"dma.efficiency[1].transfer_bytes"});
  expect_refused(with_value("  { above_c = 95", "95", "50"), {"thermal.throttle[1]"});
  expect_refused(with_value("  { above_c = 95", "state = 2", "state = 7"),
                 {"thermal.throttle[1].state", "7"});
}

TEST(NpuProfile, MissingAndUnknownFieldsAreRefused) {
  expect_refused(with_value("latency_ns", "latency_ns", "latency_us"),
                 {"dma.latency_ns", "missing"});
  expect_refused(reference_text() + "\n[extra]\nx = 1\n", {"extra", "unknown"});
  expect_refused(with_value("banks", "banks",
                            "pokes = { value = 1, provenance = \"guess\", source = \"x\" }\nbanks"),
                 {"sram.pokes", "unknown"});
  expect_refused(with_value("banks", "value = 32", "value = 32, unit = 1"), {"sram.banks", "unit"});
  expect_refused(with_value("banks", ", source = \"not published\"", ""),
                 {"sram.banks.source", "missing"});
  expect_refused(with_value("banks", "\"not published\"", "\"\""), {"sram.banks.source"});
  expect_refused(with_value("banks", "\"guess\"", "\"known\""),
                 {"sram.banks.provenance", "known", "measured"});
  expect_refused(with_value("a8w4", "tile_k = 32, ", ""), {"matrix.a8w4.tile_k", "missing"});
  expect_refused("name = ", {"line 1", "not TOML"});
  expect_refused("", {"name", "missing"});
}

// Where a field ("dma.latency_ns") stands in the reference: [first, end) of its lines.
struct FieldText {
  std::size_t first = 0, end = 0;
};

FieldText field_text(const std::string& text, const std::string& field) {
  const std::size_t dot = field.find('.');
  const std::size_t section = text.find(fmt::format("\n[{}]\n", field.substr(0, dot)));
  EXPECT_NE(section, std::string::npos) << field;
  const std::size_t first = text.find(fmt::format("\n{} = ", field.substr(dot + 1)), section) + 1;
  EXPECT_NE(first, 0u) << field;
  std::size_t end = text.find('\n', first);
  if (text[end - 1] == '[') end = text.find("\n] }", end) + 4;
  return {first, end};
}

// Every value that the field has: numbers, texts, true and false; of lists each. Positions in text.
std::vector<FieldText> values_of(const std::string& text, const FieldText& field) {
  static const std::regex kValue(R"((\w+) = ("[^"]*"|[-+.\w]+))");
  std::vector<FieldText> values;
  const std::string part = text.substr(field.first, field.end - field.first);
  for (auto at = std::sregex_iterator(part.begin(), part.end(), kValue);
       at != std::sregex_iterator(); ++at) {
    if ((*at)[1] == "provenance" || (*at)[1] == "source") continue;
    const std::size_t first = field.first + static_cast<std::size_t>(at->position(2));
    values.push_back({first, first + static_cast<std::size_t>(at->length(2))});
  }
  return values;
}

TEST(NpuProfile, EveryFieldIsNeeded) {
  const std::string text = reference_text();
  const auto profile = parse_npu_profile(text, "x.toml");
  ASSERT_TRUE(profile.ok());
  for (const FieldSource& source : profile->sources) {
    const FieldText field = field_text(text, source.field);
    std::string without = text;
    without.erase(field.first, field.end - field.first);
    if (source.field.starts_with("matrix.") && !source.field.ends_with("_cycles")) {
      // Left out is what the device lacks; its energy has no place then.
      expect_refused(without, {fmt::format("energy.{}_pj_per_mac", source.field.substr(7))});
    } else {
      expect_refused(without, {source.field, "missing"});
    }
  }
}

TEST(NpuProfile, NoFieldMayBeNegativeAbsurdOrOfAnotherType) {
  const std::string text = reference_text();
  const auto profile = parse_npu_profile(text, "x.toml");
  ASSERT_TRUE(profile.ok());
  std::size_t n_values = 0;
  for (const FieldSource& source : profile->sources) {
    for (const FieldText& value : values_of(text, field_text(text, source.field))) {
      ++n_values;
      const bool is_text = text[value.first] == '"';
      for (const char* bad : {"-1000000000", "1e30", "nan", "inf", "\"many\"", "[1]", "{}"}) {
        if (is_text && bad[0] == '"') continue;
        std::string changed = text;
        changed.replace(value.first, value.end - value.first, bad);
        expect_refused(changed, {source.field});
      }
    }
  }
  EXPECT_GT(n_values, profile->sources.size());  // lists have several
}

TEST(NpuProfile, ANameIsLookedUpInTheFoldersOfTheEnvironmentFirst) {
  const auto folder = std::filesystem::temp_directory_path() / "cria_npu_profile_test";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "hexagon-v79.toml") << with_value("year", "2024", "2031");
  ASSERT_EQ(setenv("CRIA_PROFILES", ("/nowhere:" + folder.string()).c_str(), 1), 0);
  const auto found = load_npu_profile("hexagon-v79");
  ASSERT_EQ(unsetenv("CRIA_PROFILES"), 0);
  std::filesystem::remove_all(folder);
  ASSERT_TRUE(found.ok()) << found.status().message();
  EXPECT_EQ(found->profile.year, 2031u);
  const auto shipped = load_npu_profile("hexagon-v79");
  ASSERT_TRUE(shipped.ok()) << shipped.status().message();
  EXPECT_EQ(shipped->profile.year, 2024u);
  const auto missing = load_npu_profile("hexagon-v7");
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.status().code(), ErrorCode::kNotFound);
  EXPECT_THAT(missing.status().message(), HasSubstr("hexagon-v79"));
}

}  // namespace
}  // namespace cria
