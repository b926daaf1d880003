#include "quantize/gptq.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <vector>

#include "base/cpu_features.h"
#include "quantize/factor_product.h"
#include "quantize/gptq_lanes.h"
#include "quantize/hessian_squares.h"
#include "quantize/output_error.h"
#include "quantize/row_group.h"

namespace cria {
namespace {

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
        w_(kHessianBlock * n_lanes_),
        feedback_(kHessianBlock * n_lanes_),
        u_columns_(kHessianBlock * kHessianBlock),
        codes_(kHessianBlock * n_lanes_),
        errors_(factor.n_positions() * n_lanes_),
        left_(errors_.size()) {}

  // Scales, and codes of plain rounding; the error's weight_sum is final, the rest is not.
  Status search_scales(std::span<const float> importance, QuantizeError& error);
  // The codes.
  void round();
  // Rounds each column once more, now that the errors of all others are known.
  void round_again(const HessianSquares& squares);
  // sum (e U^T)^2
  double loss() const { return loss_; }
  void measure(QuantizeError& error) const;

 private:
  void load_scales();
  void load_weights(std::int64_t block);
  void load_block(std::int64_t block);
  void feed_back(std::int64_t block);
  GptqTile tile_of(std::int64_t block);
  void store_codes(std::int64_t block);
  void load_square(std::int64_t block, const HessianSquares& squares);
  void change_errors(std::int64_t block);

  // Positions of the block that are columns.
  std::int64_t width(std::int64_t block) const {
    return std::min(kHessianBlock, factor_.n_cols() - block * kHessianBlock);
  }

  const Matrix& weights_;
  const HessianFactor& factor_;
  RowGroup group_;
  std::int64_t n_lanes_;
  EncodingSpec spec_;
  std::span<RowCodes> rows_;
  std::vector<float> scales_, mins_;  // [n_blocks of a row][n_lanes]
  std::vector<float> w_, feedback_, u_columns_;
  std::vector<const float*> block_scales_, block_mins_;  // [kHessianBlock] of a tile
  std::vector<std::uint8_t> codes_;
  std::vector<float> losses_;            // [n_lanes] of a tile
  std::vector<float> errors_, left_;     // [n_positions][n_lanes]: e, and e U^T
  std::vector<float> changes_, unused_;  // [kHessianBlock][n_lanes] of errors
  double loss_ = 0;
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

void GroupRounder::round() {
  static const GptqColumns gptq_columns = pick_columns();
  for (std::int64_t block = factor_.n_blocks() - 1; block >= 0; --block) {
    load_block(block);
    feed_back(block);
    GptqTile tile = tile_of(block);
    tile.errors = errors_.data() + block * kHessianBlock * n_lanes_;
    tile.left = left_.data() + block * kHessianBlock * n_lanes_;
    gptq_columns(tile);
    for (std::int64_t r = 0; r < group_.n_rows; ++r) loss_ += losses_[r];
    store_codes(block);
  }
}

void GroupRounder::load_weights(std::int64_t block) {
  const std::int64_t first = block * kHessianBlock;
  load_transposed(
      weights_, group_, first, first + width(block),
      [&](std::int64_t p) { return factor_.column_at(p); }, w_.data());
}

void GroupRounder::load_block(std::int64_t block) {
  load_weights(block);
  const float* rows = factor_.rows_of(block);
  for (std::int64_t p = 0; p < kHessianBlock; ++p) {
    for (std::int64_t q = 0; q < kHessianBlock; ++q) {
      u_columns_[q * kHessianBlock + p] = rows[p * factor_.row_stride(block) + q];
    }
  }
}

void GroupRounder::feed_back(std::int64_t block) {
  std::fill(feedback_.begin(), feedback_.end(), 0.0f);
  add_factor_product(factor_, {block, block + 1, factor_.n_blocks()},
                     errors_.data() + (block + 1) * kHessianBlock * n_lanes_, n_lanes_,
                     feedback_.data());
}

// All but where the errors go.
GptqTile GroupRounder::tile_of(std::int64_t block) {
  const std::int64_t n = width(block);
  block_scales_.resize(kHessianBlock);
  block_mins_.resize(kHessianBlock);
  losses_.resize(n_lanes_);
  for (std::int64_t p = 0; p < n; ++p) {
    const std::int64_t b = factor_.column_at(block * kHessianBlock + p) / spec_.block;
    block_scales_[p] = scales_.data() + b * n_lanes_;
    block_mins_[p] = mins_.data() + b * n_lanes_;
  }
  GptqTile tile;
  tile.encoding = spec_.encoding;
  tile.n_positions = n;
  tile.n_lanes = n_lanes_;
  tile.w = w_.data();
  tile.feedback = feedback_.data();
  tile.u_columns = u_columns_.data();
  tile.u_stride = kHessianBlock;
  tile.scales = block_scales_.data();
  tile.mins = block_mins_.data();
  tile.codes = codes_.data();
  tile.losses = losses_.data();
  return tile;
}

// A change d of e[p] changes e H e^T by 2 d g[p] + d^2 H[p][p], g = e H: the best value is that
// nearest to q[p] + g[p] / H[p][p], and g of the others gains d H[p]. So this is what rounding
// does, with q in place of w, g in place of the feedback and the square of H in place of U.
void GroupRounder::round_again(const HessianSquares& squares) {
  static const GptqColumns gptq_columns = pick_columns();
  changes_.resize(feedback_.size());
  unused_.resize(feedback_.size());
  for (std::int64_t block = factor_.n_blocks() - 1; block >= 0; --block) {
    load_square(block, squares);
    gradients_of_block(factor_, block, left_.data(), n_lanes_, feedback_.data());
    GptqTile tile = tile_of(block);
    tile.errors = changes_.data();
    tile.left = unused_.data();
    std::fill(changes_.begin(), changes_.end(), 0.0f);
    gptq_columns(tile);
    change_errors(block);
    store_codes(block);
  }
  loss_ = 0;
  for (const float left : left_) loss_ += static_cast<double>(left) * left;
}

// w_ = what the codes stand for, u_columns_ = H of the block.
void GroupRounder::load_square(std::int64_t block, const HessianSquares& squares) {
  load_weights(block);
  const float* errors = errors_.data() + block * kHessianBlock * n_lanes_;
  for (std::int64_t i = 0; i < width(block) * n_lanes_; ++i) w_[i] -= errors[i];
  std::copy_n(squares.of_block(block), kHessianBlock * kHessianBlock, u_columns_.data());
}

void GroupRounder::change_errors(std::int64_t block) {
  float* errors = errors_.data() + block * kHessianBlock * n_lanes_;
  for (std::int64_t i = 0; i < width(block) * n_lanes_; ++i) errors[i] += changes_[i];
  add_changes_of_block(factor_, block, changes_.data(), n_lanes_, left_.data());
}

void GroupRounder::store_codes(std::int64_t block) {
  for (std::int64_t p = 0; p < width(block); ++p) {
    const std::int64_t column = factor_.column_at(block * kHessianBlock + p);
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
                                 ThreadPool& pool, int n_sweeps) {
  assert(factor.n_cols() == weights.n_cols);
  const HessianSquares squares(factor, pool);
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
    rounder.round();
    for (int i = 0; i < n_sweeps; ++i) rounder.round_again(squares);
    losses[g] = rounder.loss();
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
