#include "quantize/ldlq.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <vector>

#include "quantize/e8p_rounding.h"
#include "quantize/factor_product.h"
#include "quantize/hessian_squares.h"
#include "quantize/matmul.h"
#include "quantize/row_group.h"
#include "tensor/e8p.h"
#include "tensor/float16.h"

namespace cria {
namespace {

// Multiples of the scale without feedback. Measured on models/cria-tiny: one of 1.05 leaves 1.03
// times what the better of these two leaves, the best of three 0.99 times; twice and once the work.
constexpr float kMultiples[] = {1.02f, 1.08f};

float half_scale(double scale) {
  return f16_to_f32(f32_to_f16(std::min(kLargestHalf, static_cast<float>(scale))));
}

// Of a row, summed over the positions: y = w U^T and l = (w - q) U^T. Sums with q U^T = y - l would
// be differences of large numbers.
struct Fit {
  double yl = 0, ll = 0;

  // |(w - ratio q) U^T|^2
  double error(double yy, double ratio) const {
    const double rest = 1 - ratio;
    return rest * rest * yy + 2 * rest * ratio * yl + ratio * ratio * ll;
  }
  // The ratio that makes it least; 0 if there is none.
  double best_ratio(double yy) const {
    const double yz = yy - yl, zz = yy - 2 * yl + ll;
    return yz > 0 && zz > 0 ? yz / zz : 0;
  }
};

// The inverse of U[o][o], row-major. Its diagonal is not zero.
void invert_octet(const float* u, std::int64_t stride, float* inverse) {
  double v[kE8Width][kE8Width] = {};
  for (int j = 0; j < kE8Width; ++j) {
    for (int i = j; i >= 0; --i) {
      double sum = i == j ? 1 : 0;
      for (int k = i + 1; k <= j; ++k) sum -= static_cast<double>(u[i * stride + k]) * v[k][j];
      v[i][j] = sum / u[i * stride + i];
    }
  }
  for (int i = 0; i < kE8Width; ++i) {
    for (int j = 0; j < kE8Width; ++j) inverse[i * kE8Width + j] = static_cast<float>(v[i][j]);
  }
}

// One group of rows from weights to codes.
class OctetRounder {
 public:
  OctetRounder(const Matrix& weights, const HessianFactor& factor, const RowGroup& group,
               std::span<RowCodes> rows)
      : weights_(weights),
        factor_(factor),
        group_(group),
        n_lanes_(group.n_lanes()),
        spec_(encoding_spec(rows[0].encoding)),
        rows_(rows),
        w_(factor.n_positions() * n_lanes_),
        y_(w_.size()),
        errors_(w_.size()),
        feedback_(kHessianBlock * n_lanes_),
        codes_(group.n_rows * rows[0].codes.size()),
        fits_(group.n_rows),
        yy_(group.n_rows),
        losses_(group.n_rows, -1.0) {}

  // The scales that blocks want by themselves.
  void search_scales(std::span<const float> importance);
  // Rounds all rows with the scales times `multiple` and keeps the codes of those that gained.
  void try_multiple(float multiple);
  // Rounds each octet of what was kept again, now that those before it are known, too.
  void round_again(const HessianSquares& squares);

  double output_error() const { return sum_of(losses_); }  // with damping
  double output_sum() const { return sum_of(yy_); }        // with damping

 private:
  double sum_of(const std::vector<double>& values) const {
    double sum = 0;
    for (const double v : values) sum += v;
    return sum;
  }
  std::int64_t width(std::int64_t block) const {
    return std::min(kHessianBlock, factor_.n_cols() - block * kHessianBlock);
  }
  void load_weights();
  void load_kept();
  void multiply_by_factor(const std::vector<float>& in, std::vector<float>& out) const;
  void round_block_again(std::int64_t block, const HessianSquares& squares);
  void round_octet_again(std::int64_t block, std::int64_t first, const HessianSquares& squares);
  bool round_lane_again(std::int64_t position, std::int64_t lane, const float* square,
                        const float* gradient, float* change);
  void round_aim(std::int64_t position, std::int64_t lane, float* q);
  void feed_back(std::int64_t block);
  void round_octet(std::int64_t block, std::int64_t first);
  void round_lane(std::int64_t position, std::int64_t lane, const float* u, std::int64_t stride);
  void keep_best();

  std::int64_t n_blocks() const { return static_cast<std::int64_t>(rows_[0].scales_f16.size()); }

  const Matrix& weights_;
  const HessianFactor& factor_;
  RowGroup group_;
  std::int64_t n_lanes_;
  EncodingSpec spec_;
  std::span<RowCodes> rows_;
  std::vector<float> wanted_, scales_;      // [n_rows][n_blocks]
  std::vector<float> w_, y_;                // [n_positions][n_lanes] weights, and w U^T
  std::vector<float> errors_;               // the same: w - q
  std::vector<float> left_;                 // the same, when rounding again: (w - q) U^T
  std::vector<float> feedback_;             // [kHessianBlock][n_lanes]
  std::vector<float> gradients_, changes_;  // [kHessianBlock][n_lanes] of a block rounded again
  float aims_[kE8Width * kGroupRows] = {};
  std::vector<std::uint8_t> codes_;  // [n_rows] of RowCodes::codes
  std::vector<Fit> fits_;            // [n_rows]
  std::vector<double> yy_, losses_;  // [n_rows]; a loss below 0: none yet
};

void OctetRounder::search_scales(std::span<const float> importance) {
  for (std::int64_t r = 0; r < group_.n_rows; ++r) {
    const std::span<const float> row = weights_.row(group_.first + r);
    for (std::int64_t b = 0; b < n_blocks(); ++b) {
      const std::int64_t first = b * spec_.block;
      const auto n = std::min<std::int64_t>(spec_.block, factor_.n_cols() - first);
      wanted_.push_back(
          e8p_search_scale(spec_.bits, row.subspan(first, n), importance.subspan(first, n)));
    }
  }
  load_weights();
}

void OctetRounder::load_weights() {
  load_transposed(
      weights_, group_, 0, factor_.n_cols(), [&](std::int64_t p) { return factor_.column_at(p); },
      w_.data());
  multiply_by_factor(w_, y_);
  for (std::int64_t p = 0; p < factor_.n_cols(); ++p) {
    for (std::int64_t r = 0; r < group_.n_rows; ++r) {
      const double y = y_[p * n_lanes_ + r];
      yy_[r] += y * y;
    }
  }
}

// out = in U^T
void OctetRounder::multiply_by_factor(const std::vector<float>& in, std::vector<float>& out) const {
  std::fill(out.begin(), out.end(), 0.0f);
  for (std::int64_t block = 0; block < factor_.n_blocks(); ++block) {
    const std::int64_t first = block * kHessianBlock * n_lanes_;
    add_factor_product(factor_, {block, block, factor_.n_blocks()}, in.data() + first, n_lanes_,
                       out.data() + first);
  }
}

void OctetRounder::try_multiple(float multiple) {
  scales_.clear();
  for (const float scale : wanted_) scales_.push_back(half_scale(multiple * scale));
  std::fill(fits_.begin(), fits_.end(), Fit());
  for (std::int64_t block = factor_.n_blocks() - 1; block >= 0; --block) {
    feed_back(block);
    for (std::int64_t first = kHessianBlock - kE8Width; first >= 0; first -= kE8Width) {
      if (first < width(block)) round_octet(block, first);
    }
  }
  keep_best();
}

// feedback_ = what the blocks behind this one left.
void OctetRounder::feed_back(std::int64_t block) {
  std::fill(feedback_.begin(), feedback_.end(), 0.0f);
  add_factor_product(factor_, {block, block + 1, factor_.n_blocks()},
                     errors_.data() + (block + 1) * kHessianBlock * n_lanes_, n_lanes_,
                     feedback_.data());
}

// Positions [first, first + 8) of the block, then what they leave to those before them in it.
void OctetRounder::round_octet(std::int64_t block, std::int64_t first) {
  const std::int64_t position = block * kHessianBlock + first, stride = factor_.row_stride(block);
  const float* rows = factor_.rows_of(block);
  const float* own = rows + first * stride + first;
  float inverse[kE8Width * kE8Width];
  invert_octet(own, stride, inverse);
  std::copy_n(w_.data() + position * n_lanes_, kE8Width * n_lanes_, aims_);
  MatmulArgs args;
  args.a = inverse;
  args.a_row_stride = kE8Width;
  args.a_col_stride = 1;
  args.b = feedback_.data() + first * n_lanes_;
  args.c = aims_;
  args.b_stride = args.c_stride = args.n_cols = n_lanes_;
  args.n_rows = args.n_k = kE8Width;
  matmul(args);
  for (std::int64_t r = 0; r < group_.n_rows; ++r) round_lane(position, r, own, stride);
  args.a = rows + first;
  args.a_row_stride = stride;
  args.b = errors_.data() + position * n_lanes_;
  args.c = feedback_.data();
  args.n_rows = first;
  if (first > 0) matmul(args);
}

// q = the point nearest to aims_ of these positions, and its code.
void OctetRounder::round_aim(std::int64_t position, std::int64_t lane, float* q) {
  const std::int64_t column = factor_.column_at(position);
  const float scale = scales_[lane * n_blocks() + column / spec_.block];
  std::int8_t values[kE8Width] = {};
  if (scale > 0) {
    const float inverse = 1.0f / scale / static_cast<float>(e8p_unit(spec_.bits));
    float x[kE8Width];
    for (int i = 0; i < kE8Width; ++i) x[i] = aims_[i * n_lanes_ + lane] * inverse;
    std::uint8_t* codes = codes_.data() + lane * rows_[0].codes.size() + column;
    e8p_quantize_octet(spec_.bits, x, codes);
    e8p_decode_octet(spec_.bits, codes, values);
  }
  for (int i = 0; i < kE8Width; ++i) q[i] = scale * static_cast<float>(values[i]);
}

void OctetRounder::round_lane(std::int64_t position, std::int64_t lane, const float* u,
                              std::int64_t stride) {
  float q[kE8Width];
  round_aim(position, lane, q);
  float off[kE8Width] = {};  // from the aim
  for (int i = 0; i < kE8Width && position + i < factor_.n_cols(); ++i) {
    const std::int64_t at = (position + i) * n_lanes_ + lane;
    errors_[at] = w_[at] - q[i];
    off[i] = aims_[i * n_lanes_ + lane] - q[i];
  }
  // (e U^T) of these positions is U[o][o] (aim - q).
  Fit& fit = fits_[lane];
  for (int i = 0; i < kE8Width; ++i) {
    double left = 0;
    for (int j = i; j < kE8Width; ++j) left += static_cast<double>(u[i * stride + j]) * off[j];
    fit.yl += y_[(position + i) * n_lanes_ + lane] * left;
    fit.ll += left * left;
  }
}

// Codes, scales and errors of what was kept.
void OctetRounder::load_kept() {
  scales_.clear();
  std::vector<float> decoded(factor_.n_cols());
  for (std::int64_t r = 0; r < group_.n_rows; ++r) {
    std::copy(rows_[r].codes.begin(), rows_[r].codes.end(),
              codes_.begin() + r * rows_[r].codes.size());
    for (const std::uint16_t scale : rows_[r].scales_f16) scales_.push_back(f16_to_f32(scale));
    decode_codes(rows_[r], decoded);
    for (std::int64_t p = 0; p < factor_.n_cols(); ++p) {
      errors_[p * n_lanes_ + r] = w_[p * n_lanes_ + r] - decoded[factor_.column_at(p)];
    }
  }
}

void OctetRounder::round_again(const HessianSquares& squares) {
  load_kept();
  left_.resize(errors_.size());
  gradients_.resize(feedback_.size());
  changes_.resize(feedback_.size());
  multiply_by_factor(errors_, left_);
  for (std::int64_t block = factor_.n_blocks() - 1; block >= 0; --block) {
    round_block_again(block, squares);
  }
  std::fill(fits_.begin(), fits_.end(), Fit());
  for (std::int64_t p = 0; p < factor_.n_cols(); ++p) {
    for (std::int64_t r = 0; r < group_.n_rows; ++r) {
      const double left = left_[p * n_lanes_ + r];
      fits_[r].yl += y_[p * n_lanes_ + r] * left;
      fits_[r].ll += left * left;
    }
  }
  keep_best();
}

// A change d of the errors of an octet changes e H e^T by 2 <d, g> + d H[o][o] d^T, g = e H there.
void OctetRounder::round_block_again(std::int64_t block, const HessianSquares& squares) {
  gradients_of_block(factor_, block, left_.data(), n_lanes_, gradients_.data());
  std::fill(changes_.begin(), changes_.end(), 0.0f);
  for (std::int64_t first = kHessianBlock - kE8Width; first >= 0; first -= kE8Width) {
    if (first < width(block)) round_octet_again(block, first, squares);
  }
  add_changes_of_block(factor_, block, changes_.data(), n_lanes_, left_.data());
}

void OctetRounder::round_octet_again(std::int64_t block, std::int64_t first,
                                     const HessianSquares& squares) {
  const std::int64_t position = block * kHessianBlock + first;
  const float* square = squares.of_block(block);
  const float* gradient = gradients_.data() + first * n_lanes_;
  float* change = changes_.data() + first * n_lanes_;
  for (std::int64_t i = 0; i < kE8Width * n_lanes_; ++i) {
    aims_[i] = w_[position * n_lanes_ + i] - errors_[position * n_lanes_ + i];
  }
  MatmulArgs args;  // the aim: where the gradient would vanish
  args.a = squares.inverse_of(position / kE8Width);
  args.a_row_stride = kE8Width;
  args.a_col_stride = 1;
  args.b = gradient;
  args.c = aims_;
  args.b_stride = args.c_stride = args.n_cols = n_lanes_;
  args.n_rows = args.n_k = kE8Width;
  matmul(args);
  bool any = false;
  for (std::int64_t r = 0; r < group_.n_rows; ++r) {
    any |= round_lane_again(position, r, square + first * (kHessianBlock + 1), gradient, change);
  }
  if (!any) return;
  args.a = square + first;
  args.a_row_stride = kHessianBlock;
  args.b = change;
  args.c = gradients_.data();
  args.n_rows = first;  // those behind are done
  if (first > 0) matmul(args);
}

// Whether another point than the one there is better; `change` is that of the errors.
bool OctetRounder::round_lane_again(std::int64_t position, std::int64_t lane, const float* square,
                                    const float* gradient, float* change) {
  const std::int64_t column = factor_.column_at(position);
  std::uint8_t* codes = codes_.data() + lane * rows_[0].codes.size() + column;
  std::uint8_t before[kE8Width];
  std::copy_n(codes, kE8Width, before);
  float q[kE8Width];
  round_aim(position, lane, q);
  float d[kE8Width] = {};
  for (int i = 0; i < kE8Width && position + i < factor_.n_cols(); ++i) {
    const std::int64_t at = (position + i) * n_lanes_ + lane;
    d[i] = w_[at] - q[i] - errors_[at];
  }
  double gain = 0;
  for (int i = 0; i < kE8Width; ++i) {
    double slope = 2.0 * gradient[i * n_lanes_ + lane];
    for (int j = 0; j < kE8Width; ++j)
      slope += static_cast<double>(square[i * kHessianBlock + j]) * d[j];
    gain -= slope * d[i];
  }
  if (!(gain > 0)) {
    std::copy_n(before, kE8Width, codes);
    return false;
  }
  for (int i = 0; i < kE8Width && position + i < factor_.n_cols(); ++i) {
    errors_[(position + i) * n_lanes_ + lane] += d[i];
    change[i * n_lanes_ + lane] = d[i];
  }
  return true;
}

void OctetRounder::keep_best() {
  for (std::int64_t r = 0; r < group_.n_rows; ++r) {
    float* scales = scales_.data() + r * n_blocks();
    double ratio = 1;
    const double best_ratio = fits_[r].best_ratio(yy_[r]);
    if (n_blocks() == 1 && scales[0] > 0 && best_ratio > 0) {
      const float fitted = half_scale(scales[0] * best_ratio);
      ratio = static_cast<double>(fitted) / scales[0];
      scales[0] = fitted;
    }
    const double loss = fits_[r].error(yy_[r], ratio);
    if (losses_[r] >= 0 && loss >= losses_[r]) continue;
    losses_[r] = loss;
    const std::size_t n = rows_[r].codes.size();
    std::copy_n(codes_.data() + r * n, n, rows_[r].codes.data());
    for (std::int64_t b = 0; b < n_blocks(); ++b) rows_[r].scales_f16[b] = f32_to_f16(scales[b]);
  }
}

}  // namespace

Result<RoundedMatrix> round_ldlq(const Matrix& weights, Encoding encoding,
                                 std::span<const float> importance, const HessianFactor& factor,
                                 ThreadPool& pool, int n_sweeps) {
  assert(encoding_spec(encoding).codebook == Codebook::kE8P);
  assert(factor.n_cols() == weights.n_cols);
  RoundedMatrix rounded;
  rounded.rows.assign(weights.n_rows, RowCodes(encoding, weights.n_cols));
  for (std::int64_t r = 0; r < weights.n_rows; ++r) {
    CRIA_RETURN_IF_ERROR(
        check_row(weights.row(r), encoding).with_context(fmt::format("row {}", r)));
  }
  const std::int64_t n_groups = group_count(weights.n_rows);
  std::vector<QuantizeError> errors(n_groups);
  std::vector<double> losses(n_groups), sums(n_groups);
  const HessianSquares squares(factor, pool);
  pool.parallel_for(n_groups, [&](std::int64_t g, int) {
    const RowGroup group = row_group(weights.n_rows, g);
    const auto rows = std::span(rounded.rows).subspan(group.first, group.n_rows);
    OctetRounder rounder(weights, factor, group, rows);
    rounder.search_scales(importance);
    for (const float multiple : kMultiples) rounder.try_multiple(multiple);
    for (int i = 0; i < n_sweeps; ++i) rounder.round_again(squares);
    losses[g] = rounder.output_error();
    sums[g] = rounder.output_sum();
    std::vector<float> decoded(weights.n_cols);
    for (std::int64_t r = 0; r < group.n_rows; ++r) {
      decode_codes(rows[r], decoded);
      errors[g].add(measure_error(weights.row(group.first + r), decoded));
    }
  });
  for (std::int64_t g = 0; g < n_groups; ++g) {
    rounded.error.add(errors[g]);
    rounded.output_error += losses[g];
    rounded.output_sum += sums[g];
  }
  rounded.output_error -= static_cast<double>(factor.added()) * rounded.error.error_sum;
  rounded.output_sum -= static_cast<double>(factor.added()) * rounded.error.weight_sum;
  rounded.damping = factor.damping();
  return rounded;
}

}  // namespace cria
