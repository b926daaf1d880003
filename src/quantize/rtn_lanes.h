// The inside of rtn.h: eight blocks side by side, one a vector lane.
//
// Every operation is the same for all lanes and sums run over the columns in order, so the result
// does not depend on the instruction set that the search is compiled for.
#pragma once

#include <cstdint>

#include "tensor/encoding.h"

namespace cria {

inline constexpr int kBlockLanes = 8;
inline constexpr int kBlockColumns = 32;

struct LaneWeights {
  int n_cols = 0;  // columns of each block, 1 to 32; the rest is not read
  alignas(64) float w[kBlockColumns][kBlockLanes];
};

struct LaneCodes {
  alignas(64) std::uint8_t codes[kBlockColumns][kBlockLanes];
  std::uint16_t scales[kBlockLanes];  // half float bits; mxfp4: the exponent byte
  std::uint16_t mins[kBlockLanes];    // half float bits; encodings with a min
  float error_sums[kBlockLanes];      // sum of (w - q)^2
  float weight_sums[kBlockLanes];     // sum of w^2
  float largest[kBlockLanes];         // max |w - q|
};

// REQUIRES: can_quantize(encoding); finite weights, at most 65504 in size where scales are halves.
using QuantizeLanes = void (*)(Encoding encoding, const LaneWeights& in, LaneCodes& out);
void quantize_lanes_generic(Encoding encoding, const LaneWeights& in, LaneCodes& out);
void quantize_lanes_avx2(Encoding encoding, const LaneWeights& in, LaneCodes& out);

}  // namespace cria
