#include "api/sensitivity.h"

#include <algorithm>
#include <numeric>

#include "api/divergence.h"
#include "api/model_tail.h"
#include "base/thread_pool.h"
#include "tensor/packing.h"
#include "tokenizer/tokenizer.h"

namespace cria {
namespace {

class Measurement {
 public:
  explicit Measurement(const SensitivityRequest& request)
      : request_(request), pool_(request.n_threads > 0 ? request.n_threads : available_cores()) {}

  Result<std::vector<double>> run() {
    CRIA_ASSIGN_OR_RETURN(model_, ModelTail::create(request_.program, request_.windows, pool_));
    reference_.resize(request_.windows.size() * static_cast<std::size_t>(n_ctx() * n_vocab()));
    logits_.resize(reference_.size());
    CRIA_RETURN_IF_ERROR(model_->run(reference_));
    measure_reference_norms();
    CRIA_RETURN_IF_ERROR(find_starts());
    std::vector<double> divergences(request_.matrices.size());
    std::size_t n_done = 0;
    for (const std::size_t m : order_) {
      const ProbedMatrix& matrix = request_.matrices[m];
      CRIA_RETURN_IF_ERROR(report(n_done++));
      CRIA_RETURN_IF_ERROR(model_->advance(starts_[m]));
      CRIA_RETURN_IF_ERROR(replace(matrix));
      CRIA_RETURN_IF_ERROR(model_->run(logits_));
      CRIA_RETURN_IF_ERROR(request_.program->undo_edits(matrix.name));
      divergences[m] = mean_divergence();
    }
    CRIA_RETURN_IF_ERROR(report(n_done));
    return divergences;
  }

 private:
  Status report(std::size_t n_done) const {
    if (!request_.progress || request_.progress("sensitivity", n_done, request_.matrices.size()))
      return {};
    return cancelled("measuring the matrices was cancelled after {} of {}", n_done,
                     request_.matrices.size());
  }

  std::int64_t n_ctx() const { return std::ssize(request_.windows[0]); }

  std::int64_t n_vocab() const { return model_->n_vocab(); }

  // In the order in which the model reads them: what lies before one is the same for all behind it.
  Status find_starts() {
    for (const ProbedMatrix& matrix : request_.matrices) {
      CRIA_ASSIGN_OR_RETURN(starts_.emplace_back(), model_->start_for(matrix.name));
    }
    order_.resize(starts_.size());
    std::iota(order_.begin(), order_.end(), std::size_t{0});
    std::ranges::stable_sort(order_, {}, [this](std::size_t m) { return starts_[m]; });
    return {};
  }

  // The matrix of the probe takes the place of the program's own.
  Status replace(const ProbedMatrix& matrix) {
    CRIA_ASSIGN_OR_RETURN(const std::span<const std::byte> rounded,
                          request_.probe->named_data(matrix.name));
    CRIA_ASSIGN_OR_RETURN(const std::span<std::byte> dense,
                          request_.program->edit_named_data(matrix.name));
    const std::size_t panel_bytes = panel_layout(matrix.dense, matrix.n_cols).size_bytes;
    const std::int64_t n_panels = (matrix.n_rows + kPanelRows - 1) / kPanelRows;
    if (packed_size_bytes(matrix.rounded, matrix.n_rows, matrix.n_cols) != rounded.size() ||
        dense.size() != panel_bytes * static_cast<std::size_t>(n_panels)) {
      return internal_error("{}: {} and {} bytes are no matrices of {} x {} in {} and {}",
                            matrix.name, rounded.size(), dense.size(), matrix.n_rows, matrix.n_cols,
                            encoding_spec(matrix.rounded).name, encoding_spec(matrix.dense).name);
    }
    pool_.parallel_for(n_panels, [&](std::int64_t panel, int) {
      const std::int64_t first = panel * kPanelRows;
      const std::int64_t n_rows = std::min<std::int64_t>(kPanelRows, matrix.n_rows - first);
      std::vector<float> rows(static_cast<std::size_t>(n_rows * matrix.n_cols));
      for (std::int64_t r = 0; r < n_rows; ++r) {
        decode_packed_row(matrix.rounded, rounded, matrix.n_cols, first + r,
                          std::span(rows).subspan(r * matrix.n_cols, matrix.n_cols));
      }
      pack_dense_panel(matrix.dense, rows, matrix.n_cols,
                       dense.subspan(panel * panel_bytes, panel_bytes));
    });
    return {};
  }

  std::int64_t n_rows() const { return std::ssize(request_.windows) * n_ctx(); }

  void measure_reference_norms() {
    reference_norms_.resize(static_cast<std::size_t>(n_rows()));
    pool_.parallel_for(n_rows(), [&](std::int64_t i, int) {
      reference_norms_[i] = log_sum_exp(reference_.data() + i * n_vocab(), n_vocab());
    });
  }

  double mean_divergence() {
    const std::int64_t n_vocab = this->n_vocab();
    std::vector<double> kl(static_cast<std::size_t>(n_rows()));
    pool_.parallel_for(n_rows(), [&](std::int64_t i, int) {
      kl[i] = kl_divergence(reference_.data() + i * n_vocab, reference_norms_[i],
                            logits_.data() + i * n_vocab, n_vocab);
    });
    double sum = 0;
    for (const double one : kl) sum += one;
    return sum / static_cast<double>(n_rows());
  }

  const SensitivityRequest& request_;
  ThreadPool pool_;
  std::unique_ptr<ModelTail> model_;
  std::vector<std::size_t> starts_, order_;  // of the matrices
  std::vector<float> reference_, logits_;
  std::vector<double> reference_norms_;  // of its rows
};

}  // namespace

Result<std::vector<std::vector<std::int32_t>>> sensitivity_windows(const Tokenizer& tokenizer,
                                                                   std::string_view text,
                                                                   std::int64_t n_ctx,
                                                                   std::int64_t n_windows) {
  CRIA_ASSIGN_OR_RETURN(const std::vector<std::int32_t> ids, tokenizer.encode(text));
  const std::int64_t n = std::min(std::ssize(ids) / n_ctx, n_windows);
  if (n == 0) {
    return bad_input("the text to measure matrices on has {} tokens, one window needs {}",
                     ids.size(), n_ctx);
  }
  std::vector<std::vector<std::int32_t>> windows;
  for (std::int64_t w = 0; w < n; ++w) {
    const auto first = ids.begin() + std::ssize(ids) / n * w;
    windows.emplace_back(first, first + n_ctx);
    if (tokenizer.bos_id() >= 0) windows.back()[0] = tokenizer.bos_id();
  }
  return windows;
}

Result<std::vector<double>> measure_sensitivities(const SensitivityRequest& request) {
  return Measurement(request).run();
}

}  // namespace cria
