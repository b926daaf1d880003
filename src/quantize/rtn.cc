#include "quantize/rtn.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "base/cpu_features.h"
#include "quantize/rtn_lanes.h"

namespace cria {
namespace {

constexpr float kLargestHalf = 65504.0f;

QuantizeLanes pick_lanes() {
#ifdef CRIA_HAVE_AVX2
  const Isa isa = best_isa();
  if (isa == Isa::kAvx2 || isa == Isa::kAvx512Vnni) return quantize_lanes_avx2;
#endif
  return quantize_lanes_generic;
}

Status check_weights(std::span<const float> row, const EncodingSpec& spec) {
  // One comparison a weight in the usual case: NaN and infinity fail it too.
  const float limit = spec.scale == ScaleKind::kF16 ? kLargestHalf : 1e38f;
  const auto bad =
      std::find_if(row.begin(), row.end(), [&](float w) { return !(std::fabs(w) <= limit); });
  if (bad == row.end()) return Status();
  const auto column = bad - row.begin();
  if (!std::isfinite(*bad)) {
    return bad_input("column {} is {}, expected a finite number", column, *bad);
  }
  return bad_input("column {} is {}, beyond what {} can scale to (at most {})", column, *bad,
                   spec.name, limit);
}

// Blocks [first, first + n) of the row, n <= 8, all of n_cols columns; unused lanes are zero.
void load_blocks(std::span<const float> row, std::int64_t first, int n, int n_cols,
                 LaneWeights& lanes) {
  lanes.n_cols = n_cols;
  for (int k = 0; k < n_cols; ++k) {
    for (int lane = n; lane < kBlockLanes; ++lane) lanes.w[k][lane] = 0;
  }
  for (int lane = 0; lane < n; ++lane) {
    const float* block = row.data() + (first + lane) * kBlockColumns;
    for (int k = 0; k < n_cols; ++k) lanes.w[k][lane] = block[k];
  }
}

void store_blocks(const LaneCodes& lanes, std::int64_t first, int n, int n_cols, RowCodes& out,
                  QuantizeError& error) {
  for (int lane = 0; lane < n; ++lane) {
    const std::int64_t block = first + lane;
    std::uint8_t* codes = out.codes.data() + block * kBlockColumns;
    for (int k = 0; k < n_cols; ++k) codes[k] = lanes.codes[k][lane];
    if (!out.scales_f16.empty()) out.scales_f16[block] = lanes.scales[lane];
    if (!out.scales_8.empty()) out.scales_8[block] = static_cast<std::uint8_t>(lanes.scales[lane]);
    if (!out.mins_f16.empty()) out.mins_f16[block] = lanes.mins[lane];
    error.error_sum += lanes.error_sums[lane];
    error.weight_sum += lanes.weight_sums[lane];
    error.largest = std::max(error.largest, static_cast<double>(lanes.largest[lane]));
  }
}

}  // namespace

void QuantizeError::add(const QuantizeError& other) {
  error_sum += other.error_sum;
  weight_sum += other.weight_sum;
  largest = std::max(largest, other.largest);
}

bool can_quantize(Encoding encoding) {
  const EncodingSpec spec = encoding_spec(encoding);
  return !spec.dense() && spec.scale != ScaleKind::kSuper;
}

Result<QuantizeError> quantize_row(std::span<const float> row, RowCodes& out) {
  assert(can_quantize(out.encoding) && out.n_cols == static_cast<std::int64_t>(row.size()));
  static const QuantizeLanes quantize_lanes = pick_lanes();
  CRIA_RETURN_IF_ERROR(check_weights(row, encoding_spec(out.encoding)));
  const std::int64_t n_whole = out.n_cols / kBlockColumns;
  const int n_rest = static_cast<int>(out.n_cols % kBlockColumns);
  QuantizeError error;
  LaneWeights weights;
  LaneCodes codes;
  for (std::int64_t first = 0; first < n_whole; first += kBlockLanes) {
    const int n = static_cast<int>(std::min<std::int64_t>(kBlockLanes, n_whole - first));
    load_blocks(row, first, n, kBlockColumns, weights);
    quantize_lanes(out.encoding, weights, codes);
    store_blocks(codes, first, n, kBlockColumns, out, error);
  }
  if (n_rest > 0) {
    load_blocks(row, n_whole, 1, n_rest, weights);
    quantize_lanes(out.encoding, weights, codes);
    store_blocks(codes, n_whole, 1, n_rest, out, error);
  }
  return error;
}

QuantizeError measure_error(std::span<const float> weights, std::span<const float> decoded) {
  assert(weights.size() == decoded.size());
  QuantizeError error;
  for (std::size_t k = 0; k < weights.size(); ++k) {
    const double off = static_cast<double>(weights[k]) - decoded[k];
    error.error_sum += off * off;
    error.weight_sum += static_cast<double>(weights[k]) * weights[k];
    error.largest = std::max(error.largest, std::fabs(off));
  }
  return error;
}

}  // namespace cria
