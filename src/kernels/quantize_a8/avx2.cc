// quantize_a8 with AVX2: one block of 32 at a time.
#include <immintrin.h>

#include <algorithm>

#include "kernels/isa.h"
#include "kernels/quantize_a8/generic.h"

namespace cria {
namespace avx2 {
namespace {

// Largest of eight unsigned 32-bit numbers.
inline std::uint32_t max_of_lanes(__m256i v) {
  __m128i m = _mm_max_epu32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4e));
  m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xb1));
  return static_cast<std::uint32_t>(_mm_cvtsi128_si32(m));
}

// Sum of 16 int8: bytes are added in pairs, pairs in fours, fours across.
inline std::int16_t sum_of_bytes(__m128i bytes) {
  const __m128i pairs = _mm_maddubs_epi16(_mm_set1_epi8(1), bytes);
  __m128i sum = _mm_madd_epi16(pairs, _mm_set1_epi16(1));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1));
  return static_cast<std::int16_t>(_mm_cvtsi128_si32(sum));
}

inline void quantize_block(const float* x, std::int8_t* codes, A8Block& block) {
  __m256 v[4];
  __m256i amax = _mm256_setzero_si256();
  for (int i = 0; i < 4; ++i) {
    v[i] = _mm256_loadu_ps(x + 8 * i);
    const __m256i magnitude =
        _mm256_and_si256(_mm256_castps_si256(v[i]), _mm256_set1_epi32(0x7fffffff));
    amax = _mm256_max_epu32(amax, magnitude);
  }
  const std::uint32_t amax_bits = max_of_lanes(amax);
  if (amax_bits >= spec::kA8OverflowBits || amax_bits < spec::kA8SmallestBits) {
    return spec::quantize_a8_block(x, codes, block);  // rare: zeros and what is not finite
  }
  block.scale = spec::a8_scale(amax_bits);
  const __m256 inverse = _mm256_set1_ps(1.0f / block.scale);
  __m256i q[4];
  // The conversion rounds to nearest even, as the specification's magic number does.
  for (int i = 0; i < 4; ++i) q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
  const __m256i bytes =
      _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
  // Packing works within halves of a register: 32-bit pieces come out in the order 0 2 4 6 1 3 5 7.
  const __m256i ordered =
      _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes), ordered);
  block.sums[0] = sum_of_bytes(_mm256_castsi256_si128(ordered));
  block.sums[1] = sum_of_bytes(_mm256_extracti128_si256(ordered, 1));
}

}  // namespace
}  // namespace avx2

void quantize_a8_avx2(const QuantizeA8Args& args) {
  const std::int64_t n_blocks = a8_blocks(args.n_cols);
  const std::int64_t end = args.first_token + args.n_tokens;
  for (std::int64_t first = args.first_token; first < end;) {
    const std::int64_t tile_end = (first / kA8TileTokens + 1) * kA8TileTokens;
    const std::int64_t n = std::min(tile_end, end) - first;
    // Block by block for all tokens of a tile, which then lie side by side.
    for (std::int64_t b = 0; b < n_blocks; ++b) {
      const float* x = args.x + first * args.x_stride + b * kColumnGroup;
      const std::int64_t left = args.n_cols - b * kColumnGroup;
      const std::int64_t at = a8_index(first, b, args.n_rows, n_blocks);
      for (std::int64_t t = 0; t < n; ++t, x += args.x_stride) {
        std::int8_t* codes = args.codes + (at + t) * kColumnGroup;
        if (left >= kColumnGroup) {
          avx2::quantize_block(x, codes, args.blocks[at + t]);
        } else {
          spec::quantize_a8_tail(x, left, codes, args.blocks[at + t]);
        }
      }
    }
    first += n;
  }
}

}  // namespace cria
