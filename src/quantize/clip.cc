#include "quantize/clip.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>

namespace cria {
namespace {

constexpr float kShares[] = {0.95f, 0.9f, 0.85f, 0.8f, 0.75f, 0.7f, 0.65f, 0.6f};

class RowClip {
 public:
  RowClip(std::span<const float> row, std::span<const float> importance,
          const BlockMoments& moments, RowCodes& out)
      : row_(row), importance_(importance), moments_(moments), out_(out), decoded_(row.size()) {
    const auto n_cols = static_cast<std::int64_t>(row.size());
    block_ = std::min<std::int64_t>(encoding_spec(out.encoding).block, n_cols);
    for (std::int64_t first = 0; first < n_cols; first += block_) {
      float most = 0;
      for (const float w : block(first)) most = std::max(most, std::fabs(w));
      most_.push_back(most);
    }
  }

  Result<QuantizeError> run() {
    CRIA_ASSIGN_OR_RETURN(const QuantizeError unclipped, quantize_row(row_, importance_, out_));
    const std::vector<double> before = errors_of(out_);
    std::vector<double> least = before;
    std::vector<float> shares(most_.size(), 1.0f), tried(most_.size());
    RowCodes codes = out_;
    for (const float share : kShares) {
      std::fill(tried.begin(), tried.end(), share);
      CRIA_RETURN_IF_ERROR(quantize(tried, codes));
      const std::vector<double> errors = errors_of(codes);
      for (std::size_t b = 0; b < errors.size(); ++b) {
        if (!(errors[b] < least[b])) continue;
        least[b] = errors[b];
        shares[b] = share;
      }
    }
    // Where blocks share a scale above their own, they do not choose alone.
    CRIA_RETURN_IF_ERROR(quantize(shares, codes));
    if (!(sum(errors_of(codes)) < sum(before))) return unclipped;
    out_ = std::move(codes);
    decode_codes(out_, decoded_);
    return measure_error(row_, decoded_);
  }

 private:
  std::span<const float> block(std::int64_t first) const {
    return row_.subspan(first, std::min<std::size_t>(block_, row_.size() - first));
  }

  Status quantize(const std::vector<float>& shares, RowCodes& codes) {
    clipped_.assign(row_.begin(), row_.end());
    for (std::size_t c = 0; c < clipped_.size(); ++c) {
      const std::size_t b = c / block_;
      const float most = most_[b] * shares[b];
      clipped_[c] = std::clamp(clipped_[c], -most, most);
    }
    return quantize_row(clipped_, importance_, codes).status();
  }

  // In the output, of each block.
  std::vector<double> errors_of(const RowCodes& codes) {
    decode_codes(codes, decoded_);
    for (std::size_t c = 0; c < row_.size(); ++c) decoded_[c] = row_[c] - decoded_[c];
    std::vector<double> errors(most_.size());
    const std::size_t width = moments_.width();
    for (std::size_t first = 0; first < row_.size(); first += width) {
      const auto part = std::span(decoded_).subspan(first, std::min(width, row_.size() - first));
      errors[first / block_] += moments_.square_of(first, part);
    }
    return errors;
  }

  static double sum(const std::vector<double>& values) {
    double total = 0;
    for (const double value : values) total += value;
    return total;
  }

  std::span<const float> row_, importance_;
  const BlockMoments& moments_;
  RowCodes& out_;
  std::size_t block_ = 1;
  std::vector<float> most_;  // of each block, the largest magnitude
  std::vector<float> decoded_, clipped_;
};

}  // namespace

BlockMoments::BlockMoments(const Matrix& hessian, int block) {
  const std::int64_t n = hessian.n_cols;
  assert(hessian.n_rows == n && block >= 1);
  // A power of two, or all of a row.
  width_ = static_cast<int>(std::min<std::int64_t>({block, kWidest, n}));
  squares_.resize(static_cast<std::size_t>(n * width_));
  for (std::int64_t c = 0; c < n; ++c) {
    const std::int64_t first = c / width_ * width_;
    const auto part = hessian.row(c).subspan(first, std::min<std::int64_t>(width_, n - first));
    std::copy(part.begin(), part.end(), squares_.begin() + c * width_);
  }
}

BlockMoments::BlockMoments(std::span<const float> mean_square)
    : squares_(mean_square.begin(), mean_square.end()) {}

double BlockMoments::square_of(std::int64_t first, std::span<const float> errors) const {
  assert(first % width_ == 0 && errors.size() <= static_cast<std::size_t>(width_));
  std::array<float, kWidest> product{};
  for (std::size_t i = 0; i < errors.size(); ++i) {
    const float* h = squares_.data() + (first + static_cast<std::int64_t>(i)) * width_;
    const float e = errors[i];
    for (std::size_t j = 0; j < errors.size(); ++j) product[j] += e * h[j];
  }
  double sum = 0;
  for (std::size_t j = 0; j < errors.size(); ++j) {
    sum += static_cast<double>(product[j]) * errors[j];
  }
  return sum;
}

Result<QuantizeError> quantize_clipped_row(std::span<const float> row,
                                           std::span<const float> importance,
                                           const BlockMoments& moments, RowCodes& out) {
  return RowClip(row, importance, moments, out).run();
}

}  // namespace cria
