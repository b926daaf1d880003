#include <immintrin.h>

namespace cria {
namespace {

using Vec = __m256;
constexpr int kVecFloats = 8, kTileRows = 4, kTileVecs = 2;

inline Vec load(const float* from) { return _mm256_loadu_ps(from); }
inline void store(Vec vec, float* to) { _mm256_storeu_ps(to, vec); }
inline Vec broadcast(float value) { return _mm256_set1_ps(value); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
inline Vec flip_sign(Vec vec, unsigned sign) {
  return _mm256_xor_ps(vec, _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(sign))));
}

}  // namespace
}  // namespace cria

#include "quantize/matmul_tiles.inc"

namespace cria {

void matmul_avx2(const MatmulArgs& args) { multiply(args); }

}  // namespace cria
