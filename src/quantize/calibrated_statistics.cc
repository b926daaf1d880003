#include "quantize/calibrated_statistics.h"

#include <algorithm>

#include "base/quote.h"
#include "format/statistics/input_names.h"
#include "format/statistics/statistics_file.h"

namespace cria {
namespace {

constexpr std::int64_t kTile = 64;  // columns of a square that is mirrored at a time

// Fills the half below the diagonal from the one above, square by square: whole columns at a time
// would miss the cache at every element.
void mirror(Matrix& h) {
  const std::int64_t n = h.n_cols;
  for (std::int64_t i0 = 0; i0 < n; i0 += kTile) {
    for (std::int64_t j0 = i0; j0 < n; j0 += kTile) {
      for (std::int64_t i = i0; i < std::min(i0 + kTile, n); ++i) {
        for (std::int64_t j = std::max(j0, i + 1); j < std::min(j0 + kTile, n); ++j) {
          h.values[static_cast<std::size_t>(j * n + i)] =
              h.values[static_cast<std::size_t>(i * n + j)];
        }
      }
    }
  }
}

std::vector<float> means(std::span<const FixedSum> sums, double n_tokens) {
  std::vector<float> means;
  means.reserve(sums.size());
  for (const FixedSum& sum : sums) means.push_back(static_cast<float>(to_double(sum) / n_tokens));
  return means;
}

class CalibratedStatistics : public Statistics {
 public:
  explicit CalibratedStatistics(StatisticsFile file) : file_(std::move(file)) {}

  Result<InputStatistics> input_of(std::string_view weight_name) const override {
    CRIA_ASSIGN_OR_RETURN(const std::size_t input, find(weight_name));
    const auto n_tokens = static_cast<double>(file_.header().n_tokens());
    InputStatistics statistics;
    statistics.n_tokens = file_.header().n_tokens();
    statistics.mean_square = means(file_.view().squares(input), n_tokens);
    statistics.mean_absolute = means(file_.view().absolutes(input), n_tokens);
    statistics.has_hessian = file_.header().has_hessian;
    return statistics;
  }

  Result<Matrix> hessian_of(std::string_view weight_name) const override {
    CRIA_ASSIGN_OR_RETURN(const std::size_t input, find(weight_name));
    if (!file_.header().has_hessian) {
      return not_found("{}: has no Hessians (made with --no-hessian), {} needs one", file_.path(),
                       quote(weight_name));
    }
    CRIA_RETURN_IF_ERROR(file_.check_triangle(input));
    const std::int64_t n = file_.header().inputs[input].n_cols;
    const auto n_tokens = static_cast<double>(file_.header().n_tokens());
    const std::int64_t* entry = file_.view().triangle(input).data();
    Matrix hessian(n, n);
    for (std::int64_t i = 0; i < n; ++i) {
      const std::span<float> row = hessian.row(i);
      for (std::int64_t j = i; j < n; ++j) {
        row[static_cast<std::size_t>(j)] =
            static_cast<float>(product_to_double(*entry++) / n_tokens);
      }
    }
    file_.forget_triangle(input);
    mirror(hessian);
    return hessian;
  }

 private:
  Result<std::size_t> find(std::string_view weight_name) const {
    CRIA_ASSIGN_OR_RETURN(const std::string name, input_of_weight(weight_name));
    const std::int64_t input = file_.view().find(name);
    if (input >= 0) return static_cast<std::size_t>(input);
    return not_found("{}: has no statistics for {} (input {})", file_.path(), quote(weight_name),
                     name);
  }

  StatisticsFile file_;
};

}  // namespace

Result<std::unique_ptr<Statistics>> open_statistics(const std::string& path,
                                                    const ModelFingerprint& model) {
  CRIA_ASSIGN_OR_RETURN(StatisticsFile file, StatisticsFile::open(path));
  const std::string difference = describe_difference(file.header().model, model);
  if (!difference.empty()) {
    return bad_input("{}: statistics of another model: {}", path, difference);
  }
  return std::unique_ptr<Statistics>(std::make_unique<CalibratedStatistics>(std::move(file)));
}

}  // namespace cria
