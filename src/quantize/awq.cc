#include "quantize/awq.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

#include "quantize/output_error.h"
#include "quantize/rtn.h"

namespace cria {
namespace {

constexpr int kSteps = 20;               // exponents 0, 1/20, ..., 1
constexpr double kLeastShare = 0x1p-14;  // of the largest channel: what smaller ones count as

// The mean over channels that share a scale, in place.
void average_shared(std::span<const std::int32_t> shared, std::vector<double>& values) {
  if (shared.empty()) return;
  const std::int32_t n = *std::max_element(shared.begin(), shared.end()) + 1;
  std::vector<double> sums(static_cast<std::size_t>(n)), counts(sums.size());
  for (std::size_t c = 0; c < values.size(); ++c) {
    sums[shared[c]] += values[c];
    counts[shared[c]] += 1;
  }
  for (std::size_t c = 0; c < values.size(); ++c) values[c] = sums[shared[c]] / counts[shared[c]];
}

// Logarithms of values >= 0, of those near 0 that of kLeastShare of the largest.
std::vector<double> logarithms(const std::vector<double>& values) {
  const double most = *std::max_element(values.begin(), values.end());
  std::vector<double> logs(values.size());
  if (!(most > 0)) return logs;
  for (std::size_t c = 0; c < values.size(); ++c) {
    logs[c] = std::log(std::max(values[c], most * kLeastShare));
  }
  return logs;
}

std::vector<double> input_logs(const AwqInput& input) {
  std::vector<double> squares(input.mean_square.begin(), input.mean_square.end());
  average_shared(input.shared, squares);
  for (double& value : squares) value = std::sqrt(value);
  return logarithms(squares);
}

void add_shares(const AwqLinear& linear, std::vector<double>& sums) {
  const std::int64_t n_cols = linear.rows->n_cols;
  const std::int64_t block = std::min<std::int64_t>(encoding_spec(linear.encoding).block, n_cols);
  for (std::int64_t r = 0; r < linear.rows->n_rows; ++r) {
    const std::span<const float> row = linear.rows->row(r);
    for (std::int64_t first = 0; first < n_cols; first += block) {
      const auto of_block = row.subspan(first, std::min(block, n_cols - first));
      float most = 0;
      for (const float w : of_block) most = std::max(most, std::fabs(w));
      if (most == 0) continue;
      for (std::size_t k = 0; k < of_block.size(); ++k)
        sums[first + k] += std::fabs(of_block[k] / most);
    }
  }
}

std::vector<double> weight_logs(std::span<const AwqLinear> linears, const AwqInput& input) {
  std::vector<double> sums(input.mean_square.size());
  for (const AwqLinear& linear : linears) add_shares(linear, sums);
  average_shared(input.shared, sums);
  return logarithms(sums);
}

std::vector<float> scales_from(std::vector<double> logs) {
  const auto [low, high] = std::minmax_element(logs.begin(), logs.end());
  const double middle = 0.5 * (*low + *high);
  std::vector<float> scales(logs.size());
  for (std::size_t c = 0; c < logs.size(); ++c) {
    scales[c] = static_cast<float>(std::exp(logs[c] - middle));
  }
  return scales;
}

class Search {
 public:
  Search(std::span<const AwqLinear> linears, const AwqInput& input, ThreadPool& pool)
      : linears_(linears), input_(input), pool_(pool) {}

  Result<AwqScales> run() {
    const std::size_t n_cols = input_.mean_square.size();
    const std::vector<double> inputs = input_logs(input_), weights = weight_logs(linears_, input_);
    AwqScales best;
    best.scales.assign(n_cols, 1.0f);
    CRIA_ASSIGN_OR_RETURN(const double unscaled, error_of(best.scales));
    double least = unscaled;
    std::vector<double> logs(n_cols);
    for (const bool by_weights : {false, true}) {
      for (int step = by_weights ? 0 : 1; step <= kSteps - (by_weights ? 1 : 0); ++step) {
        const double e = static_cast<double>(step) / kSteps;
        for (std::size_t c = 0; c < n_cols; ++c) {
          logs[c] = e * inputs[c] - (by_weights ? (1 - e) * weights[c] : 0);
        }
        std::vector<float> scales = scales_from(logs);
        const Result<double> error = error_of(scales);
        // Scaled weights may be beyond what the encoding holds where the weights are not.
        if (!error.ok() || !(*error < least)) continue;
        least = *error;
        best = {std::move(scales), e, by_weights, 0};
      }
    }
    best.error = unscaled > 0 ? least / unscaled : 1;
    return best;
  }

 private:
  // Of all linears together, as they are: the larger an output, the more it moves what follows.
  Result<double> error_of(const std::vector<float>& scales) {
    double sum = 0;
    for (const AwqLinear& linear : linears_) {
      CRIA_ASSIGN_OR_RETURN(const Matrix errors, errors_of(linear, scales));
      sum += square_of(errors);
    }
    return sum;
  }

  double square_of(const Matrix& errors) const {
    if (input_.hessian != nullptr) return output_square(errors, *input_.hessian, pool_);
    double sum = 0;
    for (std::int64_t r = 0; r < errors.n_rows; ++r) {
      for (std::int64_t c = 0; c < errors.n_cols; ++c) {
        const double e = errors.row(r)[c];
        sum += e * e * input_.mean_square[c];
      }
    }
    return sum;
  }

  // w - Q(w s) / s
  Result<Matrix> errors_of(const AwqLinear& linear, const std::vector<float>& scales) const {
    const Matrix& rows = *linear.rows;
    const std::vector<float> importance =
        linear.importance ? importance_of(scales) : std::vector<float>();
    Matrix errors(rows.n_rows, rows.n_cols);
    std::vector<Status> statuses(static_cast<std::size_t>(rows.n_rows));
    pool_.parallel_for(rows.n_rows, [&](std::int64_t r, int) {
      const std::span<float> row = errors.row(r);
      for (std::size_t c = 0; c < row.size(); ++c) row[c] = rows.row(r)[c] * scales[c];
      RowCodes codes(linear.encoding, rows.n_cols);
      statuses[r] = quantize_row(row, importance, codes).status();
      if (!statuses[r].ok()) return;
      decode_codes(codes, row);
      for (std::size_t c = 0; c < row.size(); ++c) row[c] = rows.row(r)[c] - row[c] / scales[c];
    });
    for (Status& status : statuses) CRIA_RETURN_IF_ERROR(std::move(status));
    return errors;
  }

  // Of the scaled input, 1 on average; empty: nothing to tell channels apart.
  std::vector<float> importance_of(const std::vector<float>& scales) const {
    double sum = 0;
    const auto square = [&](std::size_t c) {
      return input_.mean_square[c] / (static_cast<double>(scales[c]) * scales[c]);
    };
    for (std::size_t c = 0; c < scales.size(); ++c) sum += square(c);
    std::vector<float> importance;
    if (!(sum > 0)) return importance;
    for (std::size_t c = 0; c < scales.size(); ++c) {
      importance.push_back(
          static_cast<float>(square(c) * static_cast<double>(scales.size()) / sum));
    }
    return importance;
  }

  std::span<const AwqLinear> linears_;
  const AwqInput& input_;
  ThreadPool& pool_;
};

}  // namespace

Result<AwqScales> search_awq_scales(std::span<const AwqLinear> linears, const AwqInput& input,
                                    ThreadPool& pool) {
  assert(!linears.empty() && !input.mean_square.empty());
  for (const AwqLinear& linear : linears) {
    assert(linear.rows->n_cols == static_cast<std::int64_t>(input.mean_square.size()));
    assert(can_quantize(linear.encoding));
    static_cast<void>(linear);
  }
  return Search(linears, input, pool).run();
}

}  // namespace cria
