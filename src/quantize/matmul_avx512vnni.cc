#include <immintrin.h>

namespace cria {
namespace {

using Vec = __m512;
constexpr int kVecFloats = 16, kTileRows = 8, kTileVecs = 2;

inline Vec load(const float* from) { return _mm512_loadu_ps(from); }
inline void store(Vec vec, float* to) { _mm512_storeu_ps(to, vec); }
inline Vec broadcast(float value) { return _mm512_set1_ps(value); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
inline Vec flip_sign(Vec vec, unsigned sign) {
  return _mm512_xor_ps(vec, _mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(sign))));
}

}  // namespace
}  // namespace cria

#include "quantize/matmul_tiles.inc"

namespace cria {

void matmul_avx512vnni(const MatmulArgs& args) { multiply(args); }

}  // namespace cria
