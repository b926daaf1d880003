#include "quantize/matmul.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "base/cpu_features.h"

namespace cria {
namespace {

struct Shape {
  std::int64_t n_rows, n_cols, n_k;
};
constexpr Shape kShapes[] = {{1, 16, 1}, {8, 32, 3}, {13, 48, 300}, {128, 128, 128}, {5, 112, 257}};

// Random operands of one shape; a is stored by rows or by columns.
struct Operands {
  Operands(const Shape& shape, bool transposed, bool subtract, unsigned seed)
      : a(shape.n_rows * shape.n_k), b(shape.n_k * (shape.n_cols + 3)), c(shape.n_rows * kStride) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (auto* values : {&a, &b, &c}) {
      for (float& x : *values) x = normal(random);
    }
    args.a = a.data();
    args.a_row_stride = transposed ? 1 : shape.n_k;
    args.a_col_stride = transposed ? shape.n_rows : 1;
    args.b = b.data();
    args.b_stride = shape.n_cols + 3;
    args.c_stride = kStride;
    args.n_rows = shape.n_rows;
    args.n_cols = shape.n_cols;
    args.n_k = shape.n_k;
    args.subtract = subtract;
  }
  std::vector<float> by(void (*multiply)(const MatmulArgs&)) {
    std::vector<float> out = c;
    args.c = out.data();
    multiply(args);
    return out;
  }

  static constexpr std::int64_t kStride = 130;
  std::vector<float> a, b, c;
  MatmulArgs args;
};

TEST(Matmul, EqualsADoubleSum) {
  for (const Shape& shape : kShapes) {
    for (const bool transposed : {false, true}) {
      for (const bool subtract : {false, true}) {
        Operands operands(shape, transposed, subtract, 3);
        const MatmulArgs& args = operands.args;
        const std::vector<float> out = operands.by(matmul);
        for (std::int64_t i = 0; i < shape.n_rows; ++i) {
          for (std::int64_t j = 0; j < shape.n_cols; ++j) {
            double sum = operands.c[i * Operands::kStride + j], size = std::fabs(sum);
            for (std::int64_t k = 0; k < shape.n_k; ++k) {
              const double term =
                  static_cast<double>(args.a[i * args.a_row_stride + k * args.a_col_stride]) *
                  args.b[k * args.b_stride + j];
              sum += subtract ? -term : term;
              size += std::fabs(term);
            }
            // n_k roundings, each of a partial sum that is at most `size`.
            const double slack = 6e-8 * static_cast<double>(shape.n_k) * size;
            ASSERT_NEAR(out[i * Operands::kStride + j], sum, slack);
          }
        }
      }
    }
  }
}

TEST(Matmul, EveryInstructionSetGivesTheSameBits) {
  bool compared = false;
  for (const Shape& shape : kShapes) {
    for (const bool subtract : {false, true}) {
      Operands operands(shape, subtract, subtract, 5);
      const std::vector<float> expected = operands.by(matmul_generic);
#ifdef CRIA_HAVE_AVX2
      if (cpu_supports(Isa::kAvx2)) {
        EXPECT_EQ(operands.by(matmul_avx2), expected);
        compared = true;
      }
#endif
#ifdef CRIA_HAVE_AVX512VNNI
      if (cpu_supports(Isa::kAvx512Vnni)) {
        EXPECT_EQ(operands.by(matmul_avx512vnni), expected);
      }
#endif
    }
  }
  if (!compared) GTEST_SKIP() << "nothing but the generic version here";
}

TEST(Matmul, CuttingKChangesNothing) {
  Operands operands({16, 32, 300}, false, false, 7);
  const std::vector<float> whole = operands.by(matmul);
  operands.args.n_k = 111;
  operands.c = operands.by(matmul);
  operands.args.a += 111;
  operands.args.b += 111 * operands.args.b_stride;
  operands.args.n_k = 300 - 111;
  EXPECT_EQ(operands.by(matmul), whole);
}

}  // namespace
}  // namespace cria
