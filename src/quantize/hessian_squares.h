// The squares on the diagonal of H + damping I, from its factor: what rounding columns and octets
// again needs (quantize/gptq.h, ldlq.h). Made once, shared by all rows.
#pragma once

#include <cstdint>
#include <vector>

#include "base/thread_pool.h"
#include "quantize/hessian_factor.h"
#include "tensor/e8p.h"

namespace cria {

// Immutable; safe to read from any thread. Rows and columns are positions of the factor; padding
// positions are the identity.
class HessianSquares {
 public:
  // The same bits on every instruction set and for any number of threads.
  HessianSquares(const HessianFactor& factor, ThreadPool& pool);

  // [kHessianBlock][kHessianBlock] of a block of positions.
  const float* of_block(std::int64_t block) const { return squares_[block].data(); }
  // [8][8] the inverse of the square of positions [8 octet, + 8).
  const float* inverse_of(std::int64_t octet) const {
    return inverses_.data() + octet * kE8Width * kE8Width;
  }

 private:
  std::vector<std::vector<float>> squares_;
  std::vector<float> inverses_;
};

}  // namespace cria
