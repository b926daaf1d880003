#include "quantize/hessian_squares.h"

#include "quantize/matmul.h"

namespace cria {
namespace {

// Of a positive definite matrix, by elimination without pivots.
void invert_square(const float* square, std::int64_t stride, float* inverse) {
  constexpr int kTwice = 2 * kE8Width;
  double m[kE8Width][kTwice] = {};
  for (int i = 0; i < kE8Width; ++i) {
    for (int j = 0; j < kE8Width; ++j) m[i][j] = square[i * stride + j];
    m[i][kE8Width + i] = 1;
  }
  for (int k = 0; k < kE8Width; ++k) {
    const double pivot = m[k][k];
    for (int j = 0; j < kTwice; ++j) m[k][j] /= pivot;
    for (int i = 0; i < kE8Width; ++i) {
      const double share = m[i][k];
      if (i == k) continue;
      for (int j = 0; j < kTwice; ++j) m[i][j] -= share * m[k][j];
    }
  }
  for (int i = 0; i < kE8Width; ++i) {
    for (int j = 0; j < kE8Width; ++j) {
      inverse[i * kE8Width + j] = static_cast<float>(m[i][kE8Width + j]);
    }
  }
}

}  // namespace

HessianSquares::HessianSquares(const HessianFactor& factor, ThreadPool& pool)
    : squares_(factor.n_blocks(), std::vector<float>(kHessianBlock * kHessianBlock)),
      inverses_(factor.n_positions() * kE8Width) {
  pool.parallel_for(factor.n_blocks(), [&](std::int64_t block, int) {
    float* square = squares_[block].data();
    for (std::int64_t above = 0; above <= block; ++above) {
      MatmulArgs args;  // square += U[above][block]^T U[above][block]
      args.a = args.b = factor.rows_of(above) + (block - above) * kHessianBlock;
      args.a_row_stride = 1;
      args.a_col_stride = args.b_stride = factor.row_stride(above);
      args.c = square;
      args.c_stride = args.n_rows = args.n_cols = args.n_k = kHessianBlock;
      matmul(args);
    }
    for (std::int64_t first = 0; first < kHessianBlock; first += kE8Width) {
      const std::int64_t octet = (block * kHessianBlock + first) / kE8Width;
      invert_square(square + first * kHessianBlock + first, kHessianBlock,
                    inverses_.data() + octet * kE8Width * kE8Width);
    }
  });
}

}  // namespace cria
