#include "quantize/rtn.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <vector>

#include "base/cpu_features.h"
#include "quantize/e8p_rounding.h"
#include "quantize/rtn_lanes.h"
#include "tensor/float16.h"

namespace cria {
namespace {

const RtnLanes& rtn_lanes() {
#ifdef CRIA_HAVE_AVX2
  static const Isa isa = best_isa();
  if (isa == Isa::kAvx2 || isa == Isa::kAvx512Vnni || isa == Isa::kAmxInt8) return kRtnLanesAvx2;
#endif
  return kRtnLanesGeneric;
}

Status check_weights(std::span<const float> row, const EncodingSpec& spec) {
  // One comparison a weight in the usual case: NaN and infinity fail it too.
  const float limit = spec.scale == ScaleKind::kE8M0 ? 1e38f : kLargestHalf;
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

// Up to eight blocks of one row, all of n_cols columns.
struct Chunk {
  std::int64_t first_block = 0;
  int n_blocks = 0;
  int n_cols = 0;
};

// One chunk of a row laid out in lanes, and what becomes of it.
class ChunkLanes {
 public:
  ChunkLanes(std::span<const float> row, std::span<const float> importance, int block)
      : row_(row), importance_(importance), block_(block) {
    const auto size = static_cast<std::size_t>(block * kBlockLanes);
    w_.resize(size);
    if (!importance.empty()) importance_lanes_.resize(size);
    codes_.resize(size);
  }

  void load(const Chunk& chunk) {
    chunk_ = chunk;
    load_lanes(row_, w_);
    if (!importance_.empty()) load_lanes(importance_, importance_lanes_);
  }

  LaneWeights weights() const {
    return {chunk_.n_cols, w_.data(), importance_.empty() ? nullptr : importance_lanes_.data()};
  }
  const Chunk& chunk() const { return chunk_; }
  LaneCodes& codes() {
    lane_codes_.codes = codes_.data();
    return lane_codes_;
  }
  LaneWish& wish() { return wish_; }

  void store(RowCodes& out, QuantizeError& error) const;

 private:
  // Unused lanes are zero.
  void load_lanes(std::span<const float> from, std::vector<float>& lanes) const {
    std::fill(lanes.begin(), lanes.end(), 0.0f);
    for (int lane = 0; lane < chunk_.n_blocks; ++lane) {
      const float* block = from.data() + (chunk_.first_block + lane) * block_;
      for (int k = 0; k < chunk_.n_cols; ++k) lanes[k * kBlockLanes + lane] = block[k];
    }
  }

  std::span<const float> row_, importance_;
  int block_;
  Chunk chunk_;
  std::vector<float> w_, importance_lanes_;
  std::vector<std::uint8_t> codes_;
  LaneCodes lane_codes_;
  LaneWish wish_;
};

void ChunkLanes::store(RowCodes& out, QuantizeError& error) const {
  for (int lane = 0; lane < chunk_.n_blocks; ++lane) {
    const std::int64_t b = chunk_.first_block + lane;
    std::uint8_t* codes = out.codes.data() + b * block_;
    for (int k = 0; k < chunk_.n_cols; ++k) codes[k] = codes_[k * kBlockLanes + lane];
    if (!out.scales_f16.empty()) out.scales_f16[b] = lane_codes_.scales[lane];
    if (!out.scales_8.empty())
      out.scales_8[b] = static_cast<std::uint8_t>(lane_codes_.scales[lane]);
    if (!out.mins_f16.empty()) out.mins_f16[b] = lane_codes_.mins[lane];
    if (!out.mins_8.empty()) out.mins_8[b] = static_cast<std::uint8_t>(lane_codes_.mins[lane]);
    error.error_sum += lane_codes_.error_sums[lane];
    error.weight_sum += lane_codes_.weight_sums[lane];
    error.largest = std::max(error.largest, static_cast<double>(lane_codes_.largest[lane]));
  }
}

// Columns [from, to) of a row, which start a block, cut into chunks; at most one short block.
std::vector<Chunk> chunks_of(std::int64_t from, std::int64_t to, int block) {
  std::vector<Chunk> chunks;
  const std::int64_t end_block = to / block;
  for (std::int64_t b = from / block; b < end_block; b += kBlockLanes) {
    chunks.push_back(
        {b, static_cast<int>(std::min<std::int64_t>(kBlockLanes, end_block - b)), block});
  }
  if (to % block > 0) chunks.push_back({end_block, 1, static_cast<int>(to % block)});
  return chunks;
}

// The smallest half float >= x, its bits. REQUIRES: 0 <= x <= 65504.
std::uint16_t half_at_least(float x) {
  const std::uint16_t half = f32_to_f16(x);
  return f16_to_f32(half) < x ? half + 1 : half;
}

constexpr int kLargestScale = 127, kLargestMin = 255;  // int8 (never -128), uint8

// The smallest super scales with which every block reaches what it wishes.
SuperScales choose_supers(std::span<ChunkLanes> lanes, std::int64_t super, RowCodes& out) {
  float scale = 0, min = 0;
  for (ChunkLanes& chunk : lanes) {
    for (int lane = 0; lane < chunk.chunk().n_blocks; ++lane) {
      scale = std::max(scale, std::fabs(chunk.wish().scales[lane]));
      min = std::max(min, -chunk.wish().mins[lane]);
    }
  }
  out.super_scales[super] = half_at_least(scale / kLargestScale);
  if (!out.super_mins.empty()) out.super_mins[super] = half_at_least(min / kLargestMin);
  return {f16_to_f32(out.super_scales[super]),
          out.super_mins.empty() ? 0.0f : f16_to_f32(out.super_mins[super])};
}

void quantize_super(std::span<ChunkLanes> lanes, std::int64_t super, RowCodes& out,
                    QuantizeError& error) {
  for (ChunkLanes& chunk : lanes) {
    rtn_lanes().wish(out.encoding, chunk.weights(), chunk.wish());
  }
  const SuperScales supers = choose_supers(lanes, super, out);
  for (ChunkLanes& chunk : lanes) {
    rtn_lanes().snap(out.encoding, chunk.weights(), chunk.wish(), supers, chunk.codes());
    chunk.store(out, error);
  }
}

QuantizeError quantize_two_levels(std::span<const float> row, std::span<const float> importance,
                                  RowCodes& out) {
  const int block = encoding_spec(out.encoding).block;
  QuantizeError error;
  std::vector<ChunkLanes> lanes;
  for (std::int64_t first = 0; first < out.n_cols; first += kSuperBlock) {
    const std::vector<Chunk> chunks =
        chunks_of(first, std::min<std::int64_t>(first + kSuperBlock, out.n_cols), block);
    while (lanes.size() < chunks.size()) lanes.emplace_back(row, importance, block);
    for (std::size_t i = 0; i < chunks.size(); ++i) lanes[i].load(chunks[i]);
    quantize_super(std::span(lanes).first(chunks.size()), first / kSuperBlock, out, error);
  }
  return error;
}

// The columns of a block, as far as a row has them.
int block_within(std::int64_t n_cols, const EncodingSpec& spec) {
  return static_cast<int>(std::min<std::int64_t>(n_cols, spec.block));
}

// Signed codes and a min: the min is the middle of the block, the rest is what is left of it.
// REQUIRES: weights that check_weights() let through.
Result<QuantizeError> quantize_centered(std::span<const float> row,
                                        std::span<const float> importance, RowCodes& out) {
  const EncodingSpec spec = encoding_spec(out.encoding);
  std::vector<float> rest(row.begin(), row.end());
  for (std::size_t b = 0, first = 0; b < out.mins_f16.size(); ++b) {
    const std::size_t end = std::min(row.size(), first + static_cast<std::size_t>(spec.block));
    const auto [low, high] = std::minmax_element(row.begin() + first, row.begin() + end);
    out.mins_f16[b] = f32_to_f16(0.5f * *low + 0.5f * *high);
    const float middle = f16_to_f32(out.mins_f16[b]);
    for (; first < end; ++first) rest[first] -= middle;
  }
  RowCodes plain(encoding_with_block(Encoding::kQ8, spec.block).value(), out.n_cols);
  CRIA_RETURN_IF_ERROR(quantize_row(rest, importance, plain).status());
  out.codes = std::move(plain.codes);
  out.scales_f16 = std::move(plain.scales_f16);
  decode_codes(out, rest);
  return measure_error(row, rest);
}

}  // namespace

void QuantizeError::add(const QuantizeError& other) {
  error_sum += other.error_sum;
  weight_sum += other.weight_sum;
  largest = std::max(largest, other.largest);
}

bool can_quantize(Encoding encoding) {
  const EncodingSpec spec = encoding_spec(encoding);
  return !spec.dense() && spec.codebook != Codebook::kPairs;
}

Status check_row(std::span<const float> row, Encoding encoding) {
  return check_weights(row, encoding_spec(encoding));
}

Result<QuantizeError> quantize_row(std::span<const float> row, std::span<const float> importance,
                                   RowCodes& out) {
  const EncodingSpec spec = encoding_spec(out.encoding);
  assert(can_quantize(out.encoding) && out.n_cols == static_cast<std::int64_t>(row.size()));
  assert(importance.empty() || importance.size() == row.size());
  CRIA_RETURN_IF_ERROR(check_weights(row, spec));
  if (spec.codebook == Codebook::kE8P) {
    out.codes.assign(out.codes.size(), 0);
    out.scales_f16.assign(out.scales_f16.size(), 0);
    return quantize_e8p_row(row, importance, out);
  }
  if (spec.scale == ScaleKind::kSuper) return quantize_two_levels(row, importance, out);
  if (spec.has_min && spec.codebook == Codebook::kSigned) {
    return quantize_centered(row, importance, out);
  }
  QuantizeError error;
  const int block = block_within(out.n_cols, spec);
  ChunkLanes lanes(row, importance, block);
  for (const Chunk& chunk : chunks_of(0, out.n_cols, block)) {
    lanes.load(chunk);
    rtn_lanes().quantize(out.encoding, lanes.weights(), lanes.codes());
    lanes.store(out, error);
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
