// What is known of one NPU: the numbers that the compiler plans against, the simulator runs against
// and `cria plan` costs with. A profile is a TOML file (profiles/npu/*.toml, docs/npu-profiles.md);
// every number in it says where it comes from.
//
// Units are in the names. 1 GB = 1e9 bytes. A cycle is one of the clock that the comment names, in
// the current clock state.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cria {

// How much a number can be trusted.
enum class Provenance {
  kMeasured,  // somebody measured it on the device, and published it
  kVendor,    // the vendor publishes it
  kDerived,   // computed from measured or published numbers; the source says how
  kFitted,    // chosen so that a simulated figure meets a measured one; the source says which
  kGuess,     // plausible, and no more
};
std::string_view provenance_name(Provenance provenance);

// What the matrix engine multiplies: activations x weights. 4-bit weights with f16 activations are
// dequantized on the way (by the vector engine where `VectorEngine::dequantizes`).
enum class MatrixMode { kF16, kA16W8, kA16W4, kA8W8, kA8W4 };
inline constexpr int kMatrixModes = 5;
std::string_view matrix_mode_name(MatrixMode mode);  // "f16", "a16w8", "a16w4", "a8w8", "a8w4"
std::optional<MatrixMode> matrix_mode_named(std::string_view name);

// One operating point. The first of a profile is the fastest; the clocks of later ones never rise.
struct ClockState {
  std::string name;
  double matrix_mhz = 0;
  double vector_mhz = 0;
  double bus_mhz = 0;       // DMA engines and SRAM ports
  double energy_scale = 1;  // energy of an event (MAC, SRAM byte) and static power relative to the
                            // first state: about V^2
};
struct NpuClock {
  std::vector<ClockState> states;
};

struct MatrixShape {
  std::uint32_t tile_m = 0;   // rows of activations
  std::uint32_t tile_n = 0;   // outputs
  std::uint32_t tile_k = 0;   // depth
  double macs_per_cycle = 0;  // of the matrix clock, all engines together, in full tiles
};
struct MatrixEngine {
  std::array<std::optional<MatrixShape>, kMatrixModes>
      modes;                // by MatrixMode; absent: the engine has no such mode
  double start_cycles = 0;  // a command's fixed cost
  double fill_cycles = 0;   // until the first result of a tile leaves the pipeline
  double preload_cycles =
      0;  // to load one weight tile, where it is not hidden behind the tile before
  const std::optional<MatrixShape>& mode(MatrixMode mode) const {
    return modes[static_cast<std::size_t>(mode)];
  }
};

// Cycles of the vector clock that one context needs for one vector of `lane_bytes`, operands in
// SRAM.
struct VectorCycles {
  double add = 0;
  double mul = 0;         // and multiply-add
  double exp = 0;         // and sigmoid
  double rsqrt = 0;       // and division
  double reduce = 0;      // sum or maximum, a vector to a scalar amortized over the row
  double dequantize = 0;  // a vector of f16 made from packed weights
  double shuffle = 0;     // elements moved between lanes: rotated pairs, packing of the cache
};
struct VectorEngine {
  std::uint32_t contexts = 0;    // that run at once
  std::uint32_t lane_bytes = 0;  // one vector; f16 elements are 2 bytes
  VectorCycles cycles_per_vector;
  double start_cycles = 0;  // a pass's fixed cost: waking the contexts, waiting for the last
  double head_cycles = 0;   // of attention, each query head once: setting up its products
  double share_beside_matrix =
      1;                     // of its speed that is left while the matrix engine reads SRAM, 0..1
  bool dequantizes = false;  // weights narrower than the mode's operand pass through this engine
};

struct NpuSram {
  std::uint64_t bytes = 0;
  std::uint32_t banks = 0;
  double bytes_per_cycle_to_matrix = 0;  // of the bus clock
  double bytes_per_cycle_to_vector = 0;
};

// Share of the peak rate that transfers of a size reach. Between entries: linear in log2(bytes);
// beyond them: the nearest.
struct DmaEfficiency {
  double transfer_bytes = 0;
  double share = 0;
};
struct NpuDma {
  std::uint32_t channels = 0;
  double bytes_per_cycle = 0;             // of the bus clock, one channel
  std::uint32_t max_outstanding = 0;      // transfers in flight, all channels
  double latency_ns = 0;                  // from issue to the first byte
  std::vector<DmaEfficiency> efficiency;  // ascending transfer_bytes
  double strided_penalty = 1;  // factor on the time of a copy of single elements (a transpose)
  double share(double transfer_bytes) const;  // efficiency, interpolated
};

struct NpuDram {
  double peak_gb_per_s = 0;     // of the whole chip
  double npu_cap_gb_per_s = 0;  // that the NPU's path can take
  double background_share = 0;  // of the peak that others (display, CPU) take, 0..1
  double pj_per_byte = 0;
};

struct NpuHost {
  double submit_us = 0;           // CPU to device, one submission
  double complete_us = 0;         // device to CPU, until the waiting thread runs
  double per_op_ns = 0;           // the device's decoding of one command
  double context_switch_us = 0;   // to another program on the device
  std::uint32_t batch_max = 0;    // ops in one submission
  std::uint32_t queue_depth = 0;  // submissions in flight
  double active_mw = 0;           // of the CPU core that submits and waits, while it does
  double ns_per_logit = 0;        // until the token is chosen from the logits that arrived
};

// The processor beside the NPU, for placement.
struct NpuHostCpu {
  std::string name;
  double dram_gb_per_s = 0;
  double f32_gmac_per_s = 0;  // activations of 16 or 32 bits, any weights
  double i8_gmac_per_s = 0;
  double active_mw = 0;  // while it computes
};

struct NpuLimits {
  std::uint64_t va_bytes = 0;       // that a process can map on the device
  std::uint64_t max_map_bytes = 0;  // in one mapping
  std::uint32_t align_bytes = 0;    // of every buffer; a power of two, at least 64
  bool static_shapes = true;
  std::vector<std::uint32_t> group_sizes;  // of weights along K; 0: one scale a row
};

struct NpuEnergy {
  std::array<double, kMatrixModes> pj_per_mac{};  // by MatrixMode; 0 where the mode is absent
  double pj_per_sram_byte = 0;
  double static_mw = 0;  // while the device is powered, in the first clock state
  double idle_mw = 0;    // while it waits with its clocks off
};

// From `above_c` of the die on, the device runs in no faster state than this.
struct ThrottleStep {
  double above_c = 0;
  std::uint32_t state = 0;  // index into NpuClock::states
};
// Two nodes: power -> die -(r_die)- skin -(r_skin)- ambient.
struct NpuThermal {
  double ambient_c = 0;
  double r_die_c_per_w = 0;
  double c_die_j_per_c = 0;
  double r_skin_c_per_w = 0;
  double c_skin_j_per_c = 0;
  double background_mw = 0;  // what else heats the same skin
  double hysteresis_c = 0;   // how far below `above_c` the die must fall to leave the step
  std::vector<ThrottleStep> throttle;  // ascending
};

// What `--power-profile` means on this device.
struct NpuPowerProfile {
  std::uint32_t clock_state = 0;
  std::uint32_t batch = 0;  // ops in one submission, at most NpuHost::batch_max
};

struct FieldSource {
  std::string field;  // "dma.latency_ns"
  Provenance provenance = Provenance::kGuess;
  std::string source;
};

struct NpuProfile {
  std::string name;   // "hexagon-v79": the file's name without .toml
  std::string title;  // "Qualcomm Hexagon V79 (Snapdragon 8 Elite)"
  std::string vendor;
  std::uint32_t year = 0;
  std::string status;  // "fitted": constants chosen to meet figures of this device; "compared":
                       // predictions were held against figures; "illustrative": neither
  NpuClock clock;
  MatrixEngine matrix;
  VectorEngine vector;
  NpuSram sram;
  NpuDma dma;
  NpuDram dram;
  NpuHost host;
  NpuHostCpu cpu;
  NpuLimits limits;
  NpuEnergy energy;
  NpuThermal thermal;
  NpuPowerProfile high_performance, balanced, low_power;
  std::vector<FieldSource> sources;  // of every field above, in the order of the schema

  const ClockState& state(std::uint32_t index) const { return clock.states[index]; }
  // MACs a second of a mode in full tiles. REQUIRES: the mode is present.
  double peak_macs_per_s(MatrixMode mode, std::uint32_t state) const;
  // DMA from DRAM at its best: engines, the NPU's path and what others leave, in bytes a second.
  double dram_bytes_per_s(std::uint32_t state) const;
};

// Reads a profile. `origin` names the text in errors. Refused, naming file, field, value and the
// accepted range: what is missing, unknown, of the wrong type, not finite, out of range, or
// contradicts another field. Never crashes on any text.
Result<NpuProfile> parse_npu_profile(std::string_view toml, const std::string& origin);

struct NpuProfileFile {
  NpuProfile profile;
  std::string text;  // the file, to be carried in a compiled program
  std::string path;
};
// `name_or_path`: a path when it has a '/' or ends in ".toml", else a name looked up in the folders
// of npu_profile_folders().
Result<NpuProfileFile> load_npu_profile(const std::string& name_or_path);

// Where profiles are looked for, in this order: $CRIA_PROFILES (a colon list), beside the running
// program (profiles/npu, ../profiles/npu, ../share/cria/profiles/npu), the source tree that cria
// was built from.
std::vector<std::string> npu_profile_folders();

// The paths of every profile in those folders, sorted by name; of equal names the first folder's.
std::vector<std::string> list_npu_profiles();

}  // namespace cria
