// Keeps what the linears of a model read during some windows of text.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/result.h"
#include "cria/observe.h"
#include "model/linear_inputs.h"

namespace cria {

// Memory: rows of all inputs for `max_windows` windows of `window_tokens` tokens, float32.
// Not thread-safe; callback() must not outlive it, and it must not move meanwhile.
class InputCapture {
 public:
  // kOutOfResources.
  static Result<std::unique_ptr<InputCapture>> create(const std::vector<LinearInputShape>& shapes,
                                                      std::int64_t window_tokens,
                                                      std::int64_t max_windows);
  static std::uint64_t window_bytes(const std::vector<LinearInputShape>& shapes,
                                    std::int64_t window_tokens);

  OnLinearInput callback();
  // Forgets all windows.
  void clear();
  // kInternal unless every input was seen for all tokens of the window, no more and no less.
  Status end_window();

  // [n_windows][window_tokens, n_cols]
  const float* rows(std::size_t input) const {
    return reinterpret_cast<const float*>(inputs_[input].rows.data());
  }

 private:
  struct Input {
    LinearInputShape shape;
    AlignedBuffer rows;
    std::int64_t n_rows = 0;
  };
  InputCapture(std::int64_t window_tokens, std::int64_t max_windows)
      : window_tokens_(window_tokens), max_windows_(max_windows) {}
  Status add(const LinearInput& seen);

  std::int64_t window_tokens_, max_windows_;
  std::int64_t n_windows_ = 0;
  std::vector<Input> inputs_;
  std::map<std::string, std::size_t, std::less<>> index_;
  Status status_;
};

}  // namespace cria
