// c += a b in floats: what factorising Hessians and feeding errors back is made of.
//
//   c[i][j] = fma(a[i][k], b[k][j], c[i][j])    for k = 0, 1, ... in order
//
// One chain of fused multiply-adds an element, so the result depends neither on the instruction set
// nor on how c is cut into tiles or k into pieces.
#pragma once

#include <cstdint>

namespace cria {

struct MatmulArgs {
  const float* a = nullptr;  // a[i][k] at a[i * a_row_stride + k * a_col_stride]
  std::int64_t a_row_stride = 0;
  std::int64_t a_col_stride = 0;
  const float* b = nullptr;  // [n_k, n_cols], rows b_stride apart
  std::int64_t b_stride = 0;
  float* c = nullptr;  // [n_rows, n_cols], rows c_stride apart; overlaps neither a nor b
  std::int64_t c_stride = 0;
  std::int64_t n_rows = 0;
  std::int64_t n_cols = 0;  // a multiple of kMatmulColumns
  std::int64_t n_k = 0;
  bool subtract = false;  // c -= a b: -a in the chain above
};

inline constexpr std::int64_t kMatmulColumns = 16;

// By the best instruction set of this processor. Any thread.
void matmul(const MatmulArgs& args);

void matmul_generic(const MatmulArgs& args);
void matmul_avx2(const MatmulArgs& args);
void matmul_avx512vnni(const MatmulArgs& args);

}  // namespace cria
