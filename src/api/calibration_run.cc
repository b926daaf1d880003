#include "api/calibration_run.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>

#include "api/input_capture.h"
#include "base/thread_pool.h"
#include "cria/engine.h"
#include "quantize/second_moments.h"

namespace cria {
namespace {

// Tokens of a forward call: their logits are held at once.
constexpr std::int64_t kStepTokens = 32;
// Rows that are kept before they are added. More of them mean fewer passes over the Hessians, which
// may not fit in memory. They get what the mapped program leaves of kMemoryBytes when all of it is
// resident, less kOtherBytes (packed rows, logits, cache, buffers).
constexpr std::uint64_t kMemoryBytes = 8'000'000'000;
constexpr std::uint64_t kOtherBytes = 500'000'000;
constexpr std::uint64_t kMostCaptureBytes = std::uint64_t{2} << 30;
constexpr std::int64_t kMaxBatchWindows = 16;

std::uint64_t capture_bytes(std::uint64_t program_bytes) {
  const std::uint64_t taken = program_bytes + kOtherBytes;
  return taken < kMemoryBytes ? std::min(kMemoryBytes - taken, kMostCaptureBytes) : 0;
}

double log_sum_exp(std::span<const float> row) {
  const double largest = *std::ranges::max_element(row);
  double sum = 0;
  for (const float x : row) sum += std::exp(x - largest);
  return largest + std::log(sum);
}

class Calibrator {
 public:
  Calibrator(const CalibrationRun& run, CalibrationState& state)
      : run_(run), state_(state), n_ctx_(std::ssize(run.windows[0])) {}

  Status run(const std::string& pte_path, int n_threads) {
    const CalibrationPosition& position = state_.position();
    CRIA_ASSIGN_OR_RETURN(batch_windows_, choose_batch(pte_path));
    CRIA_ASSIGN_OR_RETURN(capture_, InputCapture::create(run_.shapes, n_ctx_, batch_windows_));
    CRIA_ASSIGN_OR_RETURN(engine_, Engine::load(pte_path, {.n_threads = n_threads,
                                                           .activations = "a16",
                                                           .on_input = capture_->callback()}));
    CRIA_ASSIGN_OR_RETURN(const std::uint64_t cache_bytes, engine_->kv_cache_bytes(n_ctx_));
    CRIA_ASSIGN_OR_RETURN(cache_, KvCacheBuffer::allocate(cache_bytes));
    logits_.resize(static_cast<std::size_t>(kStepTokens * engine_->info().n_vocab));
    pool_.emplace(engine_->n_threads());
    while (position.first_window < std::ssize(run_.windows)) {
      if (position.end_window == position.first_window) {
        CRIA_RETURN_IF_ERROR(state_.begin_batch(
            std::min(position.first_window + batch_windows_, std::ssize(run_.windows))));
      }
      CRIA_RETURN_IF_ERROR(run_windows());
      CRIA_RETURN_IF_ERROR(add_units());
      CRIA_RETURN_IF_ERROR(state_.end_batch(negative_log_likelihood_, n_scored_));
    }
    return report(0);
  }

 private:
  // Windows whose rows are kept at once, at least one.
  Result<std::int64_t> choose_batch(const std::string& pte_path) const {
    std::error_code error;
    const std::uintmax_t program_bytes = std::filesystem::file_size(pte_path, error);
    if (error) return io_error("{}: cannot stat: {}", pte_path, error.message());
    const auto n_fit = static_cast<std::int64_t>(capture_bytes(program_bytes) /
                                                 InputCapture::window_bytes(run_.shapes, n_ctx_));
    const CalibrationPosition& position = state_.position();
    const std::int64_t n_begun = position.end_window - position.first_window;  // of another build
    return std::min(std::max(std::clamp<std::int64_t>(n_fit, 1, kMaxBatchWindows), n_begun),
                    std::ssize(run_.windows));
  }

  Status report(std::int64_t n_tokens_run) const {
    const auto total = static_cast<std::uint64_t>(std::ssize(run_.windows) * n_ctx_);
    const auto done =
        static_cast<std::uint64_t>(state_.position().first_window * n_ctx_ + n_tokens_run);
    // Only what was added is done.
    if (!run_.progress || run_.progress("calibrate", std::min(done, total), total)) return {};
    return cancelled("interrupted after {} of {} windows; the same command goes on from there",
                     state_.position().first_window, run_.windows.size());
  }

  Status run_windows() {
    const CalibrationPosition& position = state_.position();
    capture_->clear();
    negative_log_likelihood_ = 0;
    n_scored_ = 0;
    for (std::int64_t w = position.first_window; w < position.end_window; ++w) {
      const std::span<const std::int32_t> ids = run_.windows[static_cast<std::size_t>(w)];
      cache_->reset();
      for (std::int64_t first = 0; first < n_ctx_; first += kStepTokens) {
        CRIA_RETURN_IF_ERROR(report((w - position.first_window) * n_ctx_ + first));
        CRIA_RETURN_IF_ERROR(step(ids, first, std::min(kStepTokens, n_ctx_ - first)));
      }
      CRIA_RETURN_IF_ERROR(capture_->end_window());
    }
    return {};
  }

  Status step(std::span<const std::int32_t> ids, std::int64_t first, std::int64_t n) {
    const std::int64_t n_vocab = engine_->info().n_vocab;
    const auto logits = std::span(logits_).first(static_cast<std::size_t>(n * n_vocab));
    CRIA_RETURN_IF_ERROR(engine_->forward_all(
        ids.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(n)), *cache_,
        logits));
    for (std::int64_t i = 0; i < n && first + i + 1 < n_ctx_; ++i) {
      const auto row =
          logits.subspan(static_cast<std::size_t>(i * n_vocab), static_cast<std::size_t>(n_vocab));
      const auto next = static_cast<std::size_t>(ids[static_cast<std::size_t>(first + i + 1)]);
      negative_log_likelihood_ += log_sum_exp(row) - row[next];
      ++n_scored_;
    }
    return {};
  }

  Status add_units() {
    const auto& units = state_.units();
    packed_input_ = -1;
    const std::int64_t n_tokens =
        (state_.position().end_window - state_.position().first_window) * n_ctx_;
    while (state_.position().next_unit < std::ssize(units)) {
      CRIA_RETURN_IF_ERROR(report(n_tokens));
      const auto index = static_cast<std::size_t>(state_.position().next_unit);
      const CalibrationUnit& unit = units[index];
      if (unit_.size_bytes() < unit.size_bytes) {
        CRIA_ASSIGN_OR_RETURN(unit_, AlignedBuffer::allocate(unit.size_bytes));
      }
      const auto bytes = unit_.bytes().first(unit.size_bytes);
      CRIA_RETURN_IF_ERROR(state_.read_unit(index, bytes));
      Status status = unit.is_sums ? add_sums(unit, bytes) : add_rows(unit, bytes);
      if (!status.ok()) {
        return std::move(status).with_context(
            fmt::format("{}, in windows {} to {}", run_.shapes[unit.input].name,
                        state_.position().first_window, state_.position().end_window - 1));
      }
      CRIA_RETURN_IF_ERROR(state_.write_next_unit(bytes));
    }
    return {};
  }

  WindowRows rows_of(std::size_t input) const {
    return {.values = capture_->rows(input),
            .n_windows = state_.position().end_window - state_.position().first_window,
            .n_tokens = n_ctx_,
            .n_cols = run_.shapes[input].n_cols};
  }

  Status add_sums(const CalibrationUnit& unit, std::span<std::byte> bytes) {
    const auto n_cols = static_cast<std::size_t>(run_.shapes[unit.input].n_cols);
    const std::span sums(reinterpret_cast<FixedSum*>(bytes.data()), 2 * n_cols);
    return add_column_sums(rows_of(unit.input), sums.first(n_cols), sums.subspan(n_cols), *pool_);
  }

  Status add_rows(const CalibrationUnit& unit, std::span<std::byte> bytes) {
    if (packed_input_ != static_cast<std::int64_t>(unit.input)) {
      CRIA_RETURN_IF_ERROR(packed_.pack(rows_of(unit.input), *pool_));
      packed_input_ = static_cast<std::int64_t>(unit.input);
    }
    const std::span entries(reinterpret_cast<std::int64_t*>(bytes.data()),
                            bytes.size() / sizeof(std::int64_t));
    return add_products(packed_, unit.first_row, unit.n_rows, entries, *pool_);
  }

  const CalibrationRun& run_;
  CalibrationState& state_;
  std::int64_t n_ctx_;
  std::int64_t batch_windows_ = 1;
  std::unique_ptr<InputCapture> capture_;  // outlives the engine, which calls it
  std::optional<Engine> engine_;
  std::optional<KvCacheBuffer> cache_;
  std::optional<ThreadPool> pool_;
  std::vector<float> logits_;
  double negative_log_likelihood_ = 0;  // of the batch
  std::int64_t n_scored_ = 0;
  PackedWindows packed_;
  std::int64_t packed_input_ = -1;
  AlignedBuffer unit_;
};

}  // namespace

Status run_calibration(const CalibrationRun& run, const std::string& pte_path, int n_threads,
                       CalibrationState& state) {
  Status status = Calibrator(run, state).run(pte_path, n_threads);
  if (status.ok()) return status;
  const Status paused = state.pause();  // the first error is the one to tell
  static_cast<void>(paused);
  return status;
}

}  // namespace cria
