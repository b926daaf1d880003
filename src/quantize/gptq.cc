#include "quantize/gptq.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <vector>

#include "base/cpu_features.h"
#include "quantize/factor_product.h"
#include "quantize/gptq_lanes.h"
#include "quantize/output_error.h"
#include "quantize/row_group.h"

namespace cria {
namespace {

constexpr std::int64_t kBlock = HessianFactor::kBlock;

GptqColumns pick_columns() {
#ifdef CRIA_HAVE_AVX2  // x86: each level includes those before it
  if (best_isa() != Isa::kGeneric) return gptq_columns_avx2;
#endif
  return gptq_columns_generic;
}

// One group of rows from weights to codes.
class GroupRounder {
 public:
  GroupRounder(const Matrix& weights, const HessianFactor& factor, const RowGroup& group,
               std::span<RowCodes> rows)
      : weights_(weights),
        factor_(factor),
        group_(group),
        n_lanes_(group.n_lanes()),
        spec_(encoding_spec(rows[0].encoding)),
        rows_(rows),
        w_(kBlock * n_lanes_),
        feedback_(kBlock * n_lanes_),
        u_columns_(kBlock * kBlock),
        codes_(kBlock * n_lanes_),
        errors_(factor.n_positions() * n_lanes_) {}

  // Scales, and codes of plain rounding; the error's weight_sum is final, the rest is not.
  Status search_scales(std::span<const float> importance, QuantizeError& error);
  // The codes. Adds up sum (e U^T)^2.
  void round(double& loss);
  void measure(QuantizeError& error) const;

 private:
  void load_scales();
  void load_block(std::int64_t block);
  void feed_back(std::int64_t block);
  double round_block(std::int64_t block);
  void store_codes(std::int64_t block);

  // Positions of the block that are columns.
  std::int64_t width(std::int64_t block) const {
    return std::min(kBlock, factor_.n_cols() - block * kBlock);
  }

  const Matrix& weights_;
  const HessianFactor& factor_;
  RowGroup group_;
  std::int64_t n_lanes_;
  EncodingSpec spec_;
  std::span<RowCodes> rows_;
  std::vector<float> scales_, mins_;  // [n_blocks of a row][n_lanes]
  std::vector<float> w_, feedback_, u_columns_;
  std::vector<std::uint8_t> codes_;
  std::vector<float> errors_;  // [n_positions][n_lanes]
};

Status GroupRounder::search_scales(std::span<const float> importance, QuantizeError& error) {
  for (std::int64_t r = 0; r < group_.n_rows; ++r) {
    Result<QuantizeError> of_row =
        quantize_row(weights_.row(group_.first + r), importance, rows_[r]);
    if (!of_row.ok()) {
      return std::move(of_row).status().with_context(fmt::format("row {}", group_.first + r));
    }
    error.add(*of_row);
  }
  load_scales();
  return Status();
}

void GroupRounder::load_scales() {
  const std::int64_t n_blocks = (weights_.n_cols + spec_.block - 1) / spec_.block;
  scales_.assign(n_blocks * n_lanes_, 0.0f);
  mins_.assign(n_blocks * n_lanes_, 0.0f);
  for (std::int64_t r = 0; r < group_.n_rows; ++r) {
    for (std::int64_t b = 0; b < n_blocks; ++b) {
      scales_[b * n_lanes_ + r] = block_scale(rows_[r], b);
      mins_[b * n_lanes_ + r] = block_min(rows_[r], b);
    }
  }
}

void GroupRounder::round(double& loss) {
  for (std::int64_t block = factor_.n_blocks() - 1; block >= 0; --block) {
    load_block(block);
    feed_back(block);
    loss += round_block(block);
    store_codes(block);
  }
}

void GroupRounder::load_block(std::int64_t block) {
  const std::int64_t first = block * kBlock;
  load_transposed(
      weights_, group_, first, first + width(block),
      [&](std::int64_t p) { return factor_.column_at(p); }, w_.data());
  const float* rows = factor_.rows_of(block);
  for (std::int64_t p = 0; p < kBlock; ++p) {
    for (std::int64_t q = 0; q < kBlock; ++q) {
      u_columns_[q * kBlock + p] = rows[p * factor_.row_stride(block) + q];
    }
  }
}

void GroupRounder::feed_back(std::int64_t block) {
  std::fill(feedback_.begin(), feedback_.end(), 0.0f);
  add_factor_product(factor_, {block, block + 1, factor_.n_blocks()},
                     errors_.data() + (block + 1) * kBlock * n_lanes_, n_lanes_, feedback_.data());
}

double GroupRounder::round_block(std::int64_t block) {
  static const GptqColumns gptq_columns = pick_columns();
  const float* scales[kBlock];
  const float* mins[kBlock];
  float losses[kGroupRows];
  const std::int64_t n = width(block);
  for (std::int64_t p = 0; p < n; ++p) {
    const std::int64_t b = factor_.column_at(block * kBlock + p) / spec_.block;
    scales[p] = scales_.data() + b * n_lanes_;
    mins[p] = mins_.data() + b * n_lanes_;
  }
  GptqTile tile;
  tile.encoding = spec_.encoding;
  tile.n_positions = n;
  tile.n_lanes = n_lanes_;
  tile.w = w_.data();
  tile.feedback = feedback_.data();
  tile.u_columns = u_columns_.data();
  tile.u_stride = kBlock;
  tile.scales = scales;
  tile.mins = mins;
  tile.errors = errors_.data() + block * kBlock * n_lanes_;
  tile.codes = codes_.data();
  tile.losses = losses;
  gptq_columns(tile);
  double loss = 0;
  for (std::int64_t r = 0; r < group_.n_rows; ++r) loss += losses[r];
  return loss;
}

void GroupRounder::store_codes(std::int64_t block) {
  for (std::int64_t p = 0; p < width(block); ++p) {
    const std::int64_t column = factor_.column_at(block * kBlock + p);
    for (std::int64_t r = 0; r < group_.n_rows; ++r) {
      rows_[r].codes[column] = codes_[p * n_lanes_ + r];
    }
  }
}

void GroupRounder::measure(QuantizeError& error) const {
  double sum = 0;
  float largest = 0;
  for (const float e : errors_) {  // zero where there is no column or no row
    sum += static_cast<double>(e) * e;
    largest = std::max(largest, std::fabs(e));
  }
  error.error_sum = sum;
  error.largest = largest;
}

}  // namespace

Result<RoundedMatrix> round_gptq(const Matrix& weights, Encoding encoding,
                                 std::span<const float> importance, const HessianFactor& factor,
                                 ThreadPool& pool) {
  assert(factor.n_cols() == weights.n_cols);
  RoundedMatrix rounded;
  rounded.rows.assign(weights.n_rows, RowCodes(encoding, weights.n_cols));
  const std::int64_t n_groups = group_count(weights.n_rows);
  std::vector<QuantizeError> errors(n_groups);
  std::vector<double> losses(n_groups);
  std::vector<Status> statuses(n_groups);
  pool.parallel_for(n_groups, [&](std::int64_t g, int) {
    const RowGroup group = row_group(weights.n_rows, g);
    GroupRounder rounder(weights, factor, group,
                         std::span(rounded.rows).subspan(group.first, group.n_rows));
    statuses[g] = rounder.search_scales(importance, errors[g]);
    if (!statuses[g].ok()) return;
    rounder.round(losses[g]);
    rounder.measure(errors[g]);
  });
  for (std::int64_t g = 0; g < n_groups; ++g) {
    CRIA_RETURN_IF_ERROR(std::move(statuses[g]));
    rounded.error.add(errors[g]);
    rounded.output_error += losses[g];
  }
  rounded.output_error -= static_cast<double>(factor.added()) * rounded.error.error_sum;
  rounded.output_sum = output_square(weights, factor, pool);
  rounded.damping = factor.damping();
  return rounded;
}

}  // namespace cria
