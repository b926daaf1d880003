// The inside of rtn.h: eight blocks side by side, one a vector lane.
//
// Every operation is the same for all lanes and sums run over the columns in order, so the result
// does not depend on the instruction set that the search is compiled for.
#pragma once

#include <cstdint>

#include "tensor/encoding.h"

namespace cria {

inline constexpr int kBlockLanes = 8;

// All arrays are [n_cols][kBlockLanes]: column k of the eight blocks lies together.
struct LaneWeights {
  int n_cols = 0;  // columns of each block
  const float* w = nullptr;
  const float* importance = nullptr;  // of each weight's squared error, >= 0; null: 1
};

struct LaneCodes {
  std::uint8_t* codes = nullptr;      // [n_cols][kBlockLanes]
  std::uint16_t scales[kBlockLanes];  // half float bits; mxfp4: the exponent byte; super: int8
  std::uint16_t mins[kBlockLanes];    // half float bits; super: uint8; encodings with a min
  float error_sums[kBlockLanes];      // sum of (w - q)^2, whatever the importance
  float weight_sums[kBlockLanes];     // sum of w^2
  float largest[kBlockLanes];         // max |w - q|
};

// Scales and mins as the weights alone would have them, before they are fitted to a super scale.
struct LaneWish {
  float scales[kBlockLanes];
  float mins[kBlockLanes];  // <= 0; 0 where the encoding has none
};

// What a block's scale and min are multiples of (the min of -super_min), shared by all lanes.
struct SuperScales {
  float scale = 0;
  float min = 0;
};

// The versions for one instruction set. REQUIRES: can_quantize(encoding); finite weights, at most
// 65504 in size where scales are halves.
struct RtnLanes {
  // Encodings whose blocks have a scale of their own: everything at once.
  void (*quantize)(Encoding encoding, const LaneWeights& in, LaneCodes& out);
  // ScaleKind::kSuper: first the wish of each block, then (the super scales chosen) the best
  // multiples of them and the codes.
  void (*wish)(Encoding encoding, const LaneWeights& in, LaneWish& out);
  void (*snap)(Encoding encoding, const LaneWeights& in, const LaneWish& wish,
               const SuperScales& supers, LaneCodes& out);
};
extern const RtnLanes kRtnLanesGeneric;
extern const RtnLanes kRtnLanesAvx2;

}  // namespace cria
