#include "quantize/factor_product.h"

#include "quantize/matmul.h"

namespace cria {

void add_factor_product(const HessianFactor& factor, const FactorPart& part, const float* x,
                        std::int64_t n_lanes, float* out) {
  constexpr std::int64_t kBlock = HessianFactor::kBlock;
  MatmulArgs args;
  args.a = factor.rows_of(part.rows) + (part.first - part.rows) * kBlock;
  args.a_row_stride = factor.row_stride(part.rows);
  args.a_col_stride = 1;
  args.b = x;
  args.b_stride = args.c_stride = args.n_cols = n_lanes;
  args.c = out;
  args.n_rows = kBlock;
  args.n_k = (part.end - part.first) * kBlock;
  matmul(args);
}

}  // namespace cria
