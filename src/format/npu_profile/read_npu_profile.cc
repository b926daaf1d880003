// TOML -> NpuProfile. The one file that includes toml++, which is slow to compile.
#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
#include <toml++/toml.h>

#include <cmath>
#include <set>
#include <sstream>

#include "base/quote.h"
#include "format/npu_profile/check_npu_profile.h"
#include "format/npu_profile/npu_profile.h"

namespace cria {
namespace {

struct Range {
  double low;
  double high;
};
constexpr Range kCycles{0, 1e7};
constexpr Range kCount{1, 65536};
constexpr Range kMilliwatts{0, 1e6};
constexpr Range kMicroseconds{0, 1e6};
constexpr Range kMegahertz{1, 20000};
constexpr Range kGigabytes{0.01, 20000};
constexpr Range kCelsius{-40, 200};

std::string shown(const toml::node& node) {
  std::ostringstream text;
  if (const auto* number = node.as_floating_point()) {
    text << number->get();
  } else if (const auto* integer = node.as_integer()) {
    text << integer->get();
  } else if (const auto* string = node.as_string()) {
    return quote(string->get());
  } else if (const auto* flag = node.as_boolean()) {
    return flag->get() ? "true" : "false";
  } else {
    text << (node.is_table() ? "a table" : node.is_array() ? "an array" : "a date or time");
  }
  return text.str();
}

// Reads field after field; keeps the first error and then reads no more.
class Reader {
 public:
  Reader(const toml::table& root, std::string origin, NpuProfile& profile)
      : root_(root), origin_(std::move(origin)), profile_(profile) {}

  const Status& status() const { return status_; }

  template <typename... Args>
  void refuse(std::string_view field, fmt::format_string<Args...> format, Args&&... args) {
    if (!status_.ok()) return;
    status_ =
        bad_input("{}: {}: {}", origin_, field, fmt::format(format, std::forward<Args>(args)...));
  }

  // A bare string at the top of the file: what names the profile, and needs no source.
  void label(const std::string& key, std::string& value) {
    known_.insert(key);
    const toml::node* node = root_.get(key);
    if (node == nullptr) return refuse(key, "missing, a text is expected");
    const auto* text = node->as_string();
    if (text == nullptr || text->get().empty() || text->get().size() > 200)
      return refuse(key, "{} where a text of 1 to 200 bytes is expected", shown(*node));
    value = text->get();
  }
  void label_count(const std::string& key, std::uint32_t& value, Range range) {
    known_.insert(key);
    const toml::node* node = root_.get(key);
    if (node == nullptr)
      return refuse(key, "missing, an integer from {} to {} is expected", range.low, range.high);
    value = static_cast<std::uint32_t>(integer_of(key, *node, range));
  }

  void number(const std::string& field, double& value, Range range) {
    if (const toml::node* node = value_of(field)) value = number_of(field, *node, range);
  }
  template <typename Integer>
  void count(const std::string& field, Integer& value, Range range) {
    if (const toml::node* node = value_of(field))
      value = static_cast<Integer>(integer_of(field, *node, range));
  }
  void flag(const std::string& field, bool& value) {
    const toml::node* node = value_of(field);
    if (node == nullptr) return;
    const auto* found = node->as_boolean();
    if (found == nullptr) return refuse(field, "{} where true or false is expected", shown(*node));
    value = found->get();
  }
  void text(const std::string& field, std::string& value) {
    const toml::node* node = value_of(field);
    if (node == nullptr) return;
    const auto* found = node->as_string();
    if (found == nullptr || found->get().empty() || found->get().size() > 200)
      return refuse(field, "{} where a text of 1 to 200 bytes is expected", shown(*node));
    value = found->get();
  }
  bool has(const std::string& field) const { return root_.at_path(field).node() != nullptr; }

  // An array of tables, or of integers: `each` is called with a name for errors and the entry.
  template <typename Each>
  void array(const std::string& field, std::size_t most, Each each) {
    const toml::node* node = value_of(field);
    if (node == nullptr) return;
    const auto* entries = node->as_array();
    if (entries == nullptr || entries->size() > most)
      return refuse(field, "{} where an array of at most {} entries is expected",
                    entries == nullptr ? shown(*node) : fmt::format("{} entries", entries->size()),
                    most);
    for (std::size_t i = 0; i < entries->size() && status_.ok(); ++i)
      each(fmt::format("{}[{}]", field, i), (*entries)[i]);
  }

  // A table of plain members, `keys` and nothing else: `each(key, name, node)`.
  template <typename Each>
  void members(const std::string& field, const toml::node& node,
               std::initializer_list<const char*> keys, Each each) {
    const auto* table = node.as_table();
    if (table == nullptr) return refuse(field, "{} where a table is expected", shown(node));
    for (const char* key : keys) {
      const toml::node* member = table->get(key);
      const std::string name = fmt::format("{}.{}", field, key);
      if (member == nullptr) return refuse(name, "missing");
      each(std::string_view(key), name, *member);
    }
    for (const auto& [key, member] : *table) {
      bool expected = false;
      for (const char* known : keys) expected = expected || key.str() == known;
      if (!expected) return refuse(field, "unknown member {}", quote(key.str()));
    }
  }
  const toml::node* value_of(const std::string& field);

  double number_of(const std::string& name, const toml::node& node, Range range) {
    double found = std::nan("");
    if (const auto* number = node.as_floating_point()) found = number->get();
    if (const auto* integer = node.as_integer()) found = static_cast<double>(integer->get());
    if (std::isfinite(found) && found >= range.low && found <= range.high) return found;
    refuse(name, "{} where a number from {} to {} is expected", shown(node), range.low, range.high);
    return range.low;
  }
  std::uint64_t integer_of(const std::string& name, const toml::node& node, Range range) {
    const auto* found = node.as_integer();
    if (found != nullptr && static_cast<double>(found->get()) >= range.low &&
        static_cast<double>(found->get()) <= range.high)
      return static_cast<std::uint64_t>(found->get());
    refuse(name, "{} where an integer from {:.0f} to {:.0f} is expected", shown(node), range.low,
           range.high);
    return static_cast<std::uint64_t>(range.low);
  }

  // Every key of the file was asked for.
  void refuse_unknown() {
    for (const auto& [key, node] : root_) {
      const std::string section(key.str());
      const auto* table = node.as_table();
      if (known_.count(section) != 0) continue;
      if (table == nullptr || sections_.count(section) == 0)
        return refuse(quote(section), "unknown field");
      for (const auto& [inner, value] : *table) {
        const std::string field = section + "." + std::string(inner.str());
        if (known_.count(field) == 0) return refuse(quote(field), "unknown field");
      }
    }
  }

 private:
  const toml::table& root_;
  std::string origin_;
  NpuProfile& profile_;
  Status status_;
  std::set<std::string> known_;
  std::set<std::string> sections_;
};

std::optional<Provenance> provenance_named(std::string_view name) {
  for (Provenance candidate : {Provenance::kMeasured, Provenance::kVendor, Provenance::kDerived,
                               Provenance::kFitted, Provenance::kGuess}) {
    if (provenance_name(candidate) == name) return candidate;
  }
  return std::nullopt;
}

// The value of a field {value, provenance, source}, whose source is noted; nullptr after an error.
const toml::node* Reader::value_of(const std::string& field) {
  if (!status_.ok()) return nullptr;
  known_.insert(field);
  sections_.insert(field.substr(0, field.find('.')));
  const toml::node* node = root_.at_path(field).node();
  if (node == nullptr) {
    refuse(field, "missing");
    return nullptr;
  }
  FieldSource source{field, Provenance::kGuess, ""};
  const toml::node* value = nullptr;
  members(field, *node, {"value", "provenance", "source"},
          [&](std::string_view key, const std::string& name, const toml::node& member) {
            if (key == "value") {
              value = &member;
              return;
            }
            const auto* text = member.as_string();
            const std::string found = text == nullptr ? "" : text->get();
            if (key == "source") {
              source.source = found;
              if (found.empty() || found.size() > 1000)
                refuse(name, "{} where a text of 1 to 1000 bytes is expected", shown(member));
              return;
            }
            const auto provenance = provenance_named(found);
            if (!provenance)
              return refuse(name,
                            "{} where one of measured, vendor, derived, fitted, guess is expected",
                            shown(member));
            source.provenance = *provenance;
          });
  if (!status_.ok()) return nullptr;
  profile_.sources.push_back(std::move(source));
  return value;
}

void read_clock(Reader& reader, NpuClock& clock) {
  reader.array("clock.states", 16, [&](const std::string& name, const toml::node& node) {
    ClockState state;
    reader.members(name, node, {"name", "matrix_mhz", "vector_mhz", "bus_mhz", "energy_scale"},
                   [&](std::string_view key, const std::string& path, const toml::node& member) {
                     if (key == "name") {
                       const auto* text = member.as_string();
                       if (text == nullptr || text->get().empty() || text->get().size() > 40)
                         return reader.refuse(path, "{} where a text of 1 to 40 bytes is expected",
                                              shown(member));
                       state.name = text->get();
                     } else if (key == "energy_scale") {
                       state.energy_scale = reader.number_of(path, member, {0.01, 1});
                     } else {
                       double& mhz = key == "matrix_mhz"   ? state.matrix_mhz
                                     : key == "vector_mhz" ? state.vector_mhz
                                                           : state.bus_mhz;
                       mhz = reader.number_of(path, member, kMegahertz);
                     }
                   });
    clock.states.push_back(std::move(state));
  });
}

void read_matrix(Reader& reader, MatrixEngine& matrix) {
  for (int i = 0; i < kMatrixModes; ++i) {
    const std::string field =
        fmt::format("matrix.{}", matrix_mode_name(static_cast<MatrixMode>(i)));
    if (!reader.has(field)) continue;
    const toml::node* value = reader.value_of(field);
    if (value == nullptr) return;
    MatrixShape shape;
    reader.members(field, *value, {"tile_m", "tile_n", "tile_k", "macs_per_cycle"},
                   [&](std::string_view key, const std::string& name, const toml::node& node) {
                     if (key == "macs_per_cycle") {
                       shape.macs_per_cycle = reader.number_of(name, node, {1, 1e7});
                       return;
                     }
                     std::uint32_t& tile = key == "tile_m"   ? shape.tile_m
                                           : key == "tile_n" ? shape.tile_n
                                                             : shape.tile_k;
                     tile = static_cast<std::uint32_t>(reader.integer_of(name, node, {1, 4096}));
                   });
    matrix.modes[static_cast<std::size_t>(i)] = shape;
  }
  reader.number("matrix.start_cycles", matrix.start_cycles, kCycles);
  reader.number("matrix.fill_cycles", matrix.fill_cycles, kCycles);
  reader.number("matrix.preload_cycles", matrix.preload_cycles, kCycles);
}

void read_vector(Reader& reader, VectorEngine& vector) {
  reader.count("vector.contexts", vector.contexts, {1, 1024});
  reader.count("vector.lane_bytes", vector.lane_bytes, {2, 4096});
  const Range cycles{0.01, 10000};
  VectorCycles& per = vector.cycles_per_vector;
  const std::pair<const char*, double*> classes[] = {
      {"add", &per.add},        {"mul", &per.mul},       {"exp", &per.exp},
      {"rsqrt", &per.rsqrt},    {"reduce", &per.reduce}, {"dequantize", &per.dequantize},
      {"shuffle", &per.shuffle}};
  for (const auto& [name, value] : classes)
    reader.number(fmt::format("vector.{}_cycles", name), *value, cycles);
  reader.number("vector.start_cycles", vector.start_cycles, kCycles);
  reader.number("vector.head_cycles", vector.head_cycles, kCycles);
  reader.number("vector.share_beside_matrix", vector.share_beside_matrix, {0.01, 1});
  reader.flag("vector.dequantizes", vector.dequantizes);
}

void read_memory(Reader& reader, NpuProfile& profile) {
  reader.count("sram.bytes", profile.sram.bytes, {16384, 1e10});
  reader.count("sram.banks", profile.sram.banks, kCount);
  reader.number("sram.bytes_per_cycle_to_matrix", profile.sram.bytes_per_cycle_to_matrix, {1, 1e6});
  reader.number("sram.bytes_per_cycle_to_vector", profile.sram.bytes_per_cycle_to_vector, {1, 1e6});
  NpuDma& dma = profile.dma;
  reader.count("dma.channels", dma.channels, {1, 1024});
  reader.number("dma.bytes_per_cycle", dma.bytes_per_cycle, {0.1, 65536});
  reader.count("dma.max_outstanding", dma.max_outstanding, kCount);
  reader.number("dma.latency_ns", dma.latency_ns, {0, 1e7});
  reader.array("dma.efficiency", 32, [&](const std::string& name, const toml::node& node) {
    DmaEfficiency entry;
    reader.members(name, node, {"transfer_bytes", "share"},
                   [&](std::string_view key, const std::string& path, const toml::node& member) {
                     if (key == "share")
                       entry.share = reader.number_of(path, member, {0.0001, 1});
                     else
                       entry.transfer_bytes = reader.number_of(path, member, {1, 1e10});
                   });
    dma.efficiency.push_back(entry);
  });
  reader.number("dma.strided_penalty", dma.strided_penalty, {1, 1000});
  reader.number("dram.peak_gb_per_s", profile.dram.peak_gb_per_s, kGigabytes);
  reader.number("dram.npu_cap_gb_per_s", profile.dram.npu_cap_gb_per_s, kGigabytes);
  reader.number("dram.background_share", profile.dram.background_share, {0, 0.99});
  reader.number("dram.pj_per_byte", profile.dram.pj_per_byte, {0, 10000});
}

void read_host(Reader& reader, NpuHost& host, NpuHostCpu& cpu, NpuLimits& limits) {
  reader.number("host.submit_us", host.submit_us, kMicroseconds);
  reader.number("host.complete_us", host.complete_us, kMicroseconds);
  reader.number("host.per_op_ns", host.per_op_ns, {0, 1e8});
  reader.number("host.context_switch_us", host.context_switch_us, kMicroseconds);
  reader.count("host.batch_max", host.batch_max, {1, 1 << 24});
  reader.count("host.queue_depth", host.queue_depth, kCount);
  reader.number("host.active_mw", host.active_mw, kMilliwatts);
  reader.number("host.ns_per_logit", host.ns_per_logit, {0, 1e4});
  reader.text("cpu.name", cpu.name);
  reader.number("cpu.dram_gb_per_s", cpu.dram_gb_per_s, kGigabytes);
  reader.number("cpu.f32_gmac_per_s", cpu.f32_gmac_per_s, {0.1, 1e6});
  reader.number("cpu.i8_gmac_per_s", cpu.i8_gmac_per_s, {0.1, 1e6});
  reader.number("cpu.active_mw", cpu.active_mw, kMilliwatts);
  reader.count("limits.va_bytes", limits.va_bytes, {1 << 20, 1e14});
  reader.count("limits.max_map_bytes", limits.max_map_bytes, {1 << 20, 1e14});
  reader.count("limits.align_bytes", limits.align_bytes, {64, 65536});
  reader.flag("limits.static_shapes", limits.static_shapes);
  reader.array("limits.group_sizes", 32, [&](const std::string& name, const toml::node& node) {
    limits.group_sizes.push_back(
        static_cast<std::uint32_t>(reader.integer_of(name, node, {0, 65536})));
  });
}

void read_energy(Reader& reader, const MatrixEngine& matrix, NpuEnergy& energy) {
  for (int i = 0; i < kMatrixModes; ++i) {
    const MatrixMode mode = static_cast<MatrixMode>(i);
    const std::string field = fmt::format("energy.{}_pj_per_mac", matrix_mode_name(mode));
    if (matrix.mode(mode))
      reader.number(field, energy.pj_per_mac[static_cast<std::size_t>(i)], {0.0001, 1000});
  }
  reader.number("energy.pj_per_sram_byte", energy.pj_per_sram_byte, {0.0001, 1000});
  reader.number("energy.static_mw", energy.static_mw, kMilliwatts);
  reader.number("energy.idle_mw", energy.idle_mw, kMilliwatts);
}

void read_thermal(Reader& reader, NpuThermal& thermal) {
  reader.number("thermal.ambient_c", thermal.ambient_c, kCelsius);
  reader.number("thermal.r_die_c_per_w", thermal.r_die_c_per_w, {0.001, 1000});
  reader.number("thermal.c_die_j_per_c", thermal.c_die_j_per_c, {0.001, 1e5});
  reader.number("thermal.r_skin_c_per_w", thermal.r_skin_c_per_w, {0.001, 1000});
  reader.number("thermal.c_skin_j_per_c", thermal.c_skin_j_per_c, {0.001, 1e6});
  reader.number("thermal.background_mw", thermal.background_mw, kMilliwatts);
  reader.number("thermal.hysteresis_c", thermal.hysteresis_c, {0, 50});
  reader.array("thermal.throttle", 16, [&](const std::string& name, const toml::node& node) {
    ThrottleStep step;
    reader.members(
        name, node, {"above_c", "state"},
        [&](std::string_view key, const std::string& path, const toml::node& member) {
          if (key == "above_c")
            step.above_c = reader.number_of(path, member, kCelsius);
          else
            step.state = static_cast<std::uint32_t>(reader.integer_of(path, member, {0, 15}));
        });
    thermal.throttle.push_back(step);
  });
}

void read_power_profile(Reader& reader, const std::string& field, NpuPowerProfile& profile) {
  const toml::node* value = reader.value_of(field);
  if (value == nullptr) return;
  reader.members(field, *value, {"clock_state", "batch"},
                 [&](std::string_view key, const std::string& name, const toml::node& node) {
                   const Range range = key == "batch" ? Range{1, 1 << 24} : Range{0, 15};
                   std::uint32_t& member = key == "batch" ? profile.batch : profile.clock_state;
                   member = static_cast<std::uint32_t>(reader.integer_of(name, node, range));
                 });
}

}  // namespace

Result<NpuProfile> parse_npu_profile(std::string_view text, const std::string& origin) {
  const toml::parse_result parsed = toml::parse(text, origin);
  if (!parsed) {
    const toml::parse_error& error = parsed.error();
    return bad_input("{}: line {}: not TOML: {}", origin, error.source().begin.line,
                     quote(error.description()));
  }
  NpuProfile profile;
  Reader reader(parsed.table(), origin, profile);
  reader.label("name", profile.name);
  reader.label("title", profile.title);
  reader.label("vendor", profile.vendor);
  reader.label("status", profile.status);
  reader.label_count("year", profile.year, {1990, 2100});
  read_clock(reader, profile.clock);
  read_matrix(reader, profile.matrix);
  read_vector(reader, profile.vector);
  read_memory(reader, profile);
  read_host(reader, profile.host, profile.cpu, profile.limits);
  read_energy(reader, profile.matrix, profile.energy);
  read_thermal(reader, profile.thermal);
  read_power_profile(reader, "power.high_performance", profile.high_performance);
  read_power_profile(reader, "power.balanced", profile.balanced);
  read_power_profile(reader, "power.low_power", profile.low_power);
  reader.refuse_unknown();
  CRIA_RETURN_IF_ERROR(reader.status());
  CRIA_RETURN_IF_ERROR(check_npu_profile(profile).with_context(origin));
  return profile;
}

}  // namespace cria
