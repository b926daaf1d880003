#include "quantize/factor_product.h"

#include <algorithm>

#include "quantize/matmul.h"

namespace cria {
namespace {}  // namespace

void add_factor_product(const HessianFactor& factor, const FactorPart& part, const float* x,
                        std::int64_t n_lanes, float* out) {
  MatmulArgs args;
  args.a = factor.rows_of(part.rows) + (part.first - part.rows) * kHessianBlock;
  args.a_row_stride = factor.row_stride(part.rows);
  args.a_col_stride = 1;
  args.b = x;
  args.b_stride = args.c_stride = args.n_cols = n_lanes;
  args.c = out;
  args.n_rows = kHessianBlock;
  args.n_k = (part.end - part.first) * kHessianBlock;
  matmul(args);
}

void gradients_of_block(const HessianFactor& factor, std::int64_t block, const float* left,
                        std::int64_t n_lanes, float* out) {
  std::fill_n(out, kHessianBlock * n_lanes, 0.0f);
  MatmulArgs args;
  args.a_row_stride = 1;
  args.c = out;
  args.b_stride = args.c_stride = args.n_cols = n_lanes;
  args.n_rows = args.n_k = kHessianBlock;
  for (std::int64_t above = 0; above <= block; ++above) {
    args.a = factor.rows_of(above) + (block - above) * kHessianBlock;
    args.a_col_stride = factor.row_stride(above);
    args.b = left + above * kHessianBlock * n_lanes;
    matmul(args);
  }
}

void add_changes_of_block(const HessianFactor& factor, std::int64_t block, const float* changes,
                          std::int64_t n_lanes, float* left) {
  for (std::int64_t above = 0; above <= block; ++above) {
    add_factor_product(factor, {above, block, block + 1}, changes, n_lanes,
                       left + above * kHessianBlock * n_lanes);
  }
}

}  // namespace cria
