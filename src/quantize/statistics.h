// What calibration says about the inputs of a model's linears: the interface between the file that
// `cria calibrate` writes (format/statistics) and the methods that use it.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "quantize/matrix.h"

namespace cria {

// The input x [n_tokens, n_cols] of one linear over the calibration text. Linears that read the
// same activation (attn_q, attn_k and attn_v; ffn_gate and ffn_up) have the same statistics.
struct InputStatistics {
  std::int64_t n_tokens = 0;
  std::vector<float> mean_square;    // [n_cols] mean over tokens of x[c]^2
  std::vector<float> mean_absolute;  // [n_cols] mean over tokens of |x[c]|
  bool has_hessian = false;
};

// Thread-safety: const methods are safe from any thread.
class Statistics {
 public:
  virtual ~Statistics() = default;

  // Of the input of the linear with this canonical name ("blk.3.attn_q.weight"; "output.weight"
  // also when the head is tied). kNotFound names the weight.
  virtual Result<InputStatistics> input_of(std::string_view weight_name) const = 0;

  // The second moments of the same input: [n_cols, n_cols], symmetric, both halves filled,
  // H[i][j] = mean over tokens of x[i] x[j]. kNotFound: the statistics have none for this weight.
  virtual Result<Matrix> hessian_of(std::string_view weight_name) const = 0;
};

}  // namespace cria
