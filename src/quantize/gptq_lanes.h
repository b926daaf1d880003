// The inside of gptq.h: one block of positions for a group of rows, one row a vector lane.
//
// Every operation is the same for all lanes, in the order written down in gptq_columns.inc, so the
// result does not depend on the instruction set that it is compiled for.
#pragma once

#include <cstdint>

#include "tensor/encoding.h"

namespace cria {

// Arrays [n_positions][n_lanes] unless told otherwise.
struct GptqTile {
  Encoding encoding = Encoding::kQ4;
  std::int64_t n_positions = 0;
  std::int64_t n_lanes = 0;          // a multiple of 8
  const float* w = nullptr;          // the weights, or what they are so far (gptq.cc, round_again)
  float* feedback = nullptr;         // in: sum of U[p][q] e[q] over later blocks; used up
  const float* u_columns = nullptr;  // u_columns[q * u_stride + p] = U[p][q], p <= q
  std::int64_t u_stride = 0;
  const float* const* scales = nullptr;  // [n_positions] of [n_lanes] each
  const float* const* mins = nullptr;    // the same; zeros where the encoding has none
  float* errors = nullptr;               // out: e = w - q(w)
  float* left = nullptr;                 // out: (e U^T)[p]
  std::uint8_t* codes = nullptr;         // out
  float* losses = nullptr;               // [n_lanes] out: sum over positions of (e U^T)[p]^2
};

using GptqColumns = void (*)(const GptqTile& tile);
void gptq_columns_generic(const GptqTile& tile);
void gptq_columns_avx2(const GptqTile& tile);

}  // namespace cria
