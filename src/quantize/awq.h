// AWQ: a scale for each input channel, so that the channels that matter lose less when weights are
// rounded. W diag(s) is rounded, and whatever makes the input divides it by s, which is exact.
//
// The scales of one input are s = m^e (m: root mean square of the channel over the calibration
// text), or s = m^e / a^(1-e) (a: mean magnitude of the channel's weights, each as a share of the
// largest of its block). The exponent e in [0, 1], and which of the two, are those that make the
// error of the outputs smallest: E H E^T summed over rows of all linears of the input,
// E = W - Q(W diag(s)) diag(1/s). No scaling is among the candidates.
//
// Source: "AWQ: Activation-aware Weight Quantization for LLM Compression and Acceleration".
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "quantize/matrix.h"
#include "quantize/rounding.h"

namespace cria {

// One linear that reads the input: some of its rows, and how they are rounded. With importance,
// scales of blocks are searched with the mean squares of the scaled input; error feedback (gptq)
// is not imitated.
struct AwqLinear {
  const Matrix* rows = nullptr;
  Encoding encoding = Encoding::kQ4;
  bool importance = false;
};

struct AwqInput {
  std::span<const float> mean_square;  // [n_cols] of the channels
  const Matrix* hessian = nullptr;     // [n_cols, n_cols]; null: the mean squares as its diagonal
  // [n_cols] channels with the same number (from 0 on, none left out) get the same scale: where
  // several channels are made by one. Empty: each has its own.
  std::span<const std::int32_t> shared;
};

struct AwqScales {
  std::vector<float> scales;  // [n_cols], > 0; the largest times the smallest is 1
  double exponent = 0;
  bool by_weights = false;  // s = m^e / a^(1-e)
  double error = 0;         // of the outputs, as a share of that without scales; <= 1
};

// The same bits on every instruction set and for any number of threads. kBadInput: rows that the
// encoding cannot hold. REQUIRES: at least one linear, all of n_cols columns, encodings that
// can_quantize().
Result<AwqScales> search_awq_scales(std::span<const AwqLinear> linears, const AwqInput& input,
                                    ThreadPool& pool);

}  // namespace cria
