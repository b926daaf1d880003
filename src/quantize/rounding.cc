#include "quantize/rounding.h"

#include <algorithm>
#include <cmath>

#include "quantize/gptq.h"
#include "quantize/ldlq.h"
#include "quantize/output_error.h"

namespace cria {
namespace {

Status check_sizes(const Matrix& weights, const RoundingRequest& request) {
  const std::int64_t n = weights.n_cols;
  if (weights.n_rows <= 0 || n <= 0) {
    return invalid_argument("matrix of {} x {}, expected at least one weight", weights.n_rows, n);
  }
  if (!can_quantize(request.encoding)) {
    return unsupported("floats cannot be rounded to codes of {}",
                       encoding_spec(request.encoding).name);
  }
  const auto n_importance = static_cast<std::int64_t>(request.importance.size());
  if (n_importance != 0 && n_importance != n) {
    return invalid_argument("importance of {} columns, expected {}", n_importance, n);
  }
  const Matrix* hessian = request.hessian;
  if (hessian != nullptr && (hessian->n_rows != n || hessian->n_cols != n)) {
    return invalid_argument("Hessian of {} x {}, expected {} x {}", hessian->n_rows,
                            hessian->n_cols, n, n);
  }
  if (request.factor != nullptr && request.factor->n_cols() != n) {
    return invalid_argument("factor of a Hessian of {} columns, expected {}",
                            request.factor->n_cols(), n);
  }
  if (request.method == RoundingMethod::kGptq && hessian == nullptr && request.factor == nullptr) {
    return invalid_argument("gptq needs a Hessian");
  }
  return Status();
}

// With 1 as its mean, which the search wants; empty if there is nothing to tell columns apart.
Result<std::vector<float>> normalised(std::span<const float> importance) {
  double sum = 0;
  for (std::size_t k = 0; k < importance.size(); ++k) {
    if (!(importance[k] >= 0 && std::isfinite(importance[k]))) {
      return bad_input("importance of column {} is {}, expected a finite number from 0 on", k,
                       importance[k]);
    }
    sum += importance[k];
  }
  std::vector<float> scaled;
  if (!(sum > 0)) return scaled;
  const double mean = sum / static_cast<double>(importance.size());
  scaled.reserve(importance.size());
  for (const float v : importance) scaled.push_back(static_cast<float>(v / mean));
  return scaled;
}

// What one row amounts to in the output as far as importance tells.
struct RowSums {
  QuantizeError error;
  double output_error = 0;
  double output_sum = 0;
};

// `errors` [row.size()]: w - q(w), or empty if nobody asks.
Result<RowSums> round_row(std::span<const float> row, std::span<const float> search_importance,
                          const RoundingRequest& request, std::span<float> errors,
                          RowCodes& codes) {
  CRIA_ASSIGN_OR_RETURN(const QuantizeError error,
                        request.clip != nullptr
                            ? quantize_clipped_row(row, search_importance, *request.clip, codes)
                            : quantize_row(row, search_importance, codes));
  RowSums sums{error, error.error_sum, error.weight_sum};
  if (errors.empty()) return sums;
  const std::span<const float> importance = request.importance;
  decode_codes(codes, errors);
  for (std::size_t k = 0; k < row.size(); ++k) errors[k] = row[k] - errors[k];
  if (importance.empty()) return sums;
  sums.output_error = sums.output_sum = 0;
  for (std::size_t k = 0; k < row.size(); ++k) {
    sums.output_error += static_cast<double>(importance[k]) * errors[k] * errors[k];
    sums.output_sum += static_cast<double>(importance[k]) * row[k] * row[k];
  }
  return sums;
}

Result<RoundedMatrix> round_nearest(const Matrix& weights, const RoundingRequest& request,
                                    std::span<const float> search_importance, ThreadPool& pool) {
  RoundedMatrix rounded;
  rounded.rows.assign(weights.n_rows, RowCodes(request.encoding, weights.n_cols));
  const bool measure =
      !request.importance.empty() || request.hessian != nullptr || request.factor != nullptr;
  Matrix errors;
  if (measure) errors = Matrix(weights.n_rows, weights.n_cols);
  std::vector<RowSums> sums(weights.n_rows);
  std::vector<Status> statuses(weights.n_rows);
  pool.parallel_for(weights.n_rows, [&](std::int64_t r, int) {
    Result<RowSums> of_row =
        round_row(weights.row(r), search_importance, request,
                  measure ? errors.row(r) : std::span<float>(), rounded.rows[r]);
    if (of_row.ok()) {
      sums[r] = *of_row;
    } else {
      statuses[r] = std::move(of_row).status();
    }
  });
  for (std::int64_t r = 0; r < weights.n_rows; ++r) {
    if (!statuses[r].ok()) return std::move(statuses[r]).with_context(fmt::format("row {}", r));
    rounded.error.add(sums[r].error);
    rounded.output_error += sums[r].output_error;
    rounded.output_sum += sums[r].output_sum;
  }
  if (request.hessian != nullptr) {
    rounded.output_error = output_square(errors, *request.hessian, pool);
    rounded.output_sum = output_square(weights, *request.hessian, pool);
  } else if (request.factor != nullptr) {
    rounded.output_error = output_square(errors, *request.factor, pool);
    rounded.output_sum = output_square(weights, *request.factor, pool);
  }
  return rounded;
}

}  // namespace

ColumnOrder rounding_order(Encoding encoding) {
  return encoding_spec(encoding).codebook == Codebook::kE8P ? ColumnOrder::kByOctets
                                                            : ColumnOrder::kByDiagonal;
}

Result<RoundedMatrix> round_matrix(const Matrix& weights, const RoundingRequest& request,
                                   ThreadPool& pool) {
  CRIA_RETURN_IF_ERROR(check_sizes(weights, request));
  CRIA_ASSIGN_OR_RETURN(std::vector<float> importance, normalised(request.importance));
  if (request.method == RoundingMethod::kNearest) {
    return round_nearest(weights, request, importance, pool);
  }
  if (request.factor != nullptr) {
    if (importance.empty()) {
      CRIA_ASSIGN_OR_RETURN(importance, normalised(request.factor->diagonal()));
    }
    const bool octets = rounding_order(request.encoding) == ColumnOrder::kByOctets;
    if (octets) {
      return round_ldlq(weights, request.encoding, importance, *request.factor, pool);
    }
    return round_gptq(weights, request.encoding, importance, *request.factor, pool);
  }
  CRIA_ASSIGN_OR_RETURN(const HessianFactor factor,
                        HessianFactor::create(*request.hessian, request.damping,
                                              rounding_order(request.encoding), pool));
  RoundingRequest with_factor = request;
  with_factor.factor = &factor;
  return round_matrix(weights, with_factor, pool);
}

}  // namespace cria
