#include <cmath>

#include "quantize/matmul.h"

namespace cria {

void matmul_generic(const MatmulArgs& args) {
  for (std::int64_t i = 0; i < args.n_rows; ++i) {
    float* c = args.c + i * args.c_stride;
    for (std::int64_t k = 0; k < args.n_k; ++k) {
      const float from = args.a[i * args.a_row_stride + k * args.a_col_stride];
      const float a = args.subtract ? -from : from;
      const float* b = args.b + k * args.b_stride;
      for (std::int64_t j = 0; j < args.n_cols; ++j) c[j] = std::fma(a, b[j], c[j]);
    }
  }
}

}  // namespace cria
