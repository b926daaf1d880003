#include "format/npu_profile/npu_profile.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace cria {

std::string_view provenance_name(Provenance provenance) {
  switch (provenance) {
    case Provenance::kMeasured:
      return "measured";
    case Provenance::kVendor:
      return "vendor";
    case Provenance::kDerived:
      return "derived";
    case Provenance::kFitted:
      return "fitted";
    case Provenance::kGuess:
      break;
  }
  return "guess";
}

namespace {
constexpr std::string_view kModeNames[kMatrixModes] = {"f16", "a16w8", "a16w4", "a8w8", "a8w4"};
}

std::string_view matrix_mode_name(MatrixMode mode) {
  return kModeNames[static_cast<std::size_t>(mode)];
}

std::optional<MatrixMode> matrix_mode_named(std::string_view name) {
  for (int i = 0; i < kMatrixModes; ++i) {
    if (kModeNames[i] == name) return static_cast<MatrixMode>(i);
  }
  return std::nullopt;
}

double NpuDma::share(double transfer_bytes) const {
  assert(!efficiency.empty());
  if (transfer_bytes <= efficiency.front().transfer_bytes) return efficiency.front().share;
  for (std::size_t i = 1; i < efficiency.size(); ++i) {
    const DmaEfficiency& low = efficiency[i - 1];
    const DmaEfficiency& high = efficiency[i];
    if (transfer_bytes > high.transfer_bytes) continue;
    const double at = std::log2(transfer_bytes / low.transfer_bytes) /
                      std::log2(high.transfer_bytes / low.transfer_bytes);
    return low.share + at * (high.share - low.share);
  }
  return efficiency.back().share;
}

double NpuProfile::peak_macs_per_s(MatrixMode mode, std::uint32_t index) const {
  assert(matrix.mode(mode).has_value());
  return matrix.mode(mode)->macs_per_cycle * state(index).matrix_mhz * 1e6;
}

double NpuProfile::dram_bytes_per_s(std::uint32_t index) const {
  const double engines = dma.channels * dma.bytes_per_cycle * state(index).bus_mhz * 1e6;
  const double left = dram.peak_gb_per_s * 1e9 * (1 - dram.background_share);
  return std::min({engines, left, dram.npu_cap_gb_per_s * 1e9});
}

}  // namespace cria
