// hadamard with AVX2: the first three stages within vectors of 8, then two stages a pass over the
// block (8192 floats fill the first-level cache), each addition as in generic.h.
#include <immintrin.h>

#include "kernels/hadamard/generic.h"
#include "kernels/isa.h"

namespace cria {
namespace avx2 {
namespace {

// Lanes whose partner comes first become (partner - lane) = (partner + -lane); the others
// (lane + partner). `minus` has the sign bit of the former.
inline __m256 stage(__m256 v, __m256 partner, __m256 minus) {
  return _mm256_add_ps(partner, _mm256_xor_ps(v, minus));
}

inline __m256 stages_1_2_4(__m256 v) {
  const __m256 minus_1 = _mm256_setr_ps(0.f, -0.f, 0.f, -0.f, 0.f, -0.f, 0.f, -0.f);
  const __m256 minus_2 = _mm256_setr_ps(0.f, 0.f, -0.f, -0.f, 0.f, 0.f, -0.f, -0.f);
  const __m256 minus_4 = _mm256_setr_ps(0.f, 0.f, 0.f, 0.f, -0.f, -0.f, -0.f, -0.f);
  v = stage(v, _mm256_permute_ps(v, 0xb1), minus_1);
  v = stage(v, _mm256_permute_ps(v, 0x4e), minus_2);
  return stage(v, _mm256_permute2f128_ps(v, v, 1), minus_4);
}

// Stages h and 2h.
inline void two_stages(float* v, std::int64_t block, std::int64_t h) {
  for (std::int64_t i = 0; i < block; i += 4 * h) {
    for (std::int64_t j = i; j < i + h; j += 8) {
      const __m256 a = _mm256_loadu_ps(v + j), b = _mm256_loadu_ps(v + j + h);
      const __m256 c = _mm256_loadu_ps(v + j + 2 * h), d = _mm256_loadu_ps(v + j + 3 * h);
      const __m256 ab = _mm256_add_ps(a, b), a_b = _mm256_sub_ps(a, b);
      const __m256 cd = _mm256_add_ps(c, d), c_d = _mm256_sub_ps(c, d);
      _mm256_storeu_ps(v + j, _mm256_add_ps(ab, cd));
      _mm256_storeu_ps(v + j + h, _mm256_add_ps(a_b, c_d));
      _mm256_storeu_ps(v + j + 2 * h, _mm256_sub_ps(ab, cd));
      _mm256_storeu_ps(v + j + 3 * h, _mm256_sub_ps(a_b, c_d));
    }
  }
}

inline void one_stage(float* v, std::int64_t block, std::int64_t h) {
  for (std::int64_t i = 0; i < block; i += 2 * h) {
    for (std::int64_t j = i; j < i + h; j += 8) {
      const __m256 a = _mm256_loadu_ps(v + j), b = _mm256_loadu_ps(v + j + h);
      _mm256_storeu_ps(v + j, _mm256_add_ps(a, b));
      _mm256_storeu_ps(v + j + h, _mm256_sub_ps(a, b));
    }
  }
}

inline void hadamard_block(const float* x, const float* signs, const HadamardArgs& args,
                           float* out) {
  for (std::int64_t i = 0; i < args.block; i += 8) {
    __m256 v = _mm256_loadu_ps(x + i);
    if (!args.inverse) v = _mm256_mul_ps(v, _mm256_loadu_ps(signs + i));
    _mm256_storeu_ps(out + i, stages_1_2_4(v));
  }
  std::int64_t h = 8;
  for (; 2 * h < args.block; h *= 4) two_stages(out, args.block, h);
  if (h < args.block) one_stage(out, args.block, h);
  const __m256 scale = _mm256_set1_ps(spec::hadamard_scale(args.block));
  for (std::int64_t i = 0; i < args.block; i += 8) {
    __m256 v = _mm256_mul_ps(_mm256_loadu_ps(out + i), scale);
    if (args.inverse) v = _mm256_mul_ps(v, _mm256_loadu_ps(signs + i));
    _mm256_storeu_ps(out + i, v);
  }
}

}  // namespace
}  // namespace avx2

void hadamard_avx2(const HadamardArgs& args) {
  if (args.block < 8) return spec::hadamard(args);
  for (std::int64_t t = 0; t < args.n_tokens; ++t) {
    for (std::int64_t c = 0; c < args.n_cols; c += args.block) {
      avx2::hadamard_block(args.x + t * args.x_stride + c, args.signs + c, args,
                           args.out + t * args.out_stride + c);
    }
  }
}

}  // namespace cria
