// quantize_a8 with AVX-512: sixteen blocks of 32 at a time, in the order in which their codes lie.
// A lane has the largest magnitude and the scale of one; codes leave as whole cache lines.
#include <algorithm>

#include "kernels/isa.h"
#include "kernels/panel/avx512.h"
#include "kernels/quantize_a8/generic.h"

namespace cria {
namespace avx512 {
namespace {

constexpr int kBlocks = 16;

// Of `a` the upper or lower pairs of quarters, and of `b`.
template <int order>
inline __m512i quarters(__m512i a, __m512i b) {
  return _mm512_castps_si512(
      _mm512_shuffle_f32x4(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), order));
}
// Of each quarter of `a` two lanes, and of `b`.
template <int order>
inline __m512i lanes(__m512i a, __m512i b) {
  return _mm512_castps_si512(
      _mm512_shuffle_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), order));
}

constexpr int kLower = 0x44, kUpper = 0xee, kEven = 0x88, kOdd = 0xdd;

// Four lanes of four registers become one each: lane i of a quarter is that of register i.
inline __m512i fold_quarters(const __m512i* v, const auto& op) {
  const __m512i low = op(lanes<kLower>(v[0], v[1]), lanes<kUpper>(v[0], v[1]));
  const __m512i high = op(lanes<kLower>(v[2], v[3]), lanes<kUpper>(v[2], v[3]));
  return op(lanes<kEven>(low, high), lanes<kOdd>(low, high));
}

// Lane i is the largest of register i, as unsigned numbers.
inline __m512i max_of_each(const __m512i* v) {
  const auto larger = [](__m512i a, __m512i b) { return _mm512_max_epu32(a, b); };
  __m512i fours[4];  // [i]: of registers i, 4 + i, 8 + i and 12 + i, a quarter each
  CRIA_UNROLL
  for (int i = 0; i < 4; ++i) {
    const __m512i first =
        larger(quarters<kLower>(v[i], v[4 + i]), quarters<kUpper>(v[i], v[4 + i]));
    const __m512i last =
        larger(quarters<kLower>(v[8 + i], v[12 + i]), quarters<kUpper>(v[8 + i], v[12 + i]));
    fours[i] = larger(quarters<kEven>(first, last), quarters<kOdd>(first, last));
  }
  return fold_quarters(fours, larger);
}

// Codes of two blocks: 64 bytes.
inline __m512i codes_of_two(const float* const* x, const float* inverses) {
  __m512i q[4];
  CRIA_UNROLL
  for (int i = 0; i < 4; ++i) {
    const __m512 inverse = _mm512_set1_ps(inverses[i / 2]);
    // The conversion rounds to nearest even, as the specification's magic number does.
    q[i] = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x[i / 2] + 16 * (i % 2)), inverse));
  }
  // Packing works within quarters of a register: fours of codes come out 0 4 8 12 1 5 9 13 ...
  const __m512i bytes =
      _mm512_packs_epi16(_mm512_packs_epi32(q[0], q[1]), _mm512_packs_epi32(q[2], q[3]));
  alignas(64) constexpr std::uint32_t kOrder[16] = {0, 4, 8,  12, 1, 5, 9,  13,
                                                    2, 6, 10, 14, 3, 7, 11, 15};
  return _mm512_permutex2var_epi32(bytes, load_512(kOrder), bytes);
}

// What 16 blocks have besides codes, from scales and, of every two blocks, sums of four codes each.
inline void store_blocks(__m512i scales, const __m512i* sums_of_four, A8Block* blocks) {
  const auto add = [](__m512i a, __m512i b) { return _mm512_add_epi32(a, b); };
  // A quarter: a half of one of two blocks; a lane of it: which two.
  const __m512i low = fold_quarters(sums_of_four, add), high = fold_quarters(sums_of_four + 4, add);
  alignas(64) constexpr std::uint32_t kHalves[2][16] = {
      {0, 8, 1, 9, 2, 10, 3, 11, 16, 24, 17, 25, 18, 26, 19, 27},
      {4, 12, 5, 13, 6, 14, 7, 15, 20, 28, 21, 29, 22, 30, 23, 31}};
  const __m512i first = _mm512_permutex2var_epi32(low, load_512(kHalves[0]), high);
  const __m512i second = _mm512_permutex2var_epi32(low, load_512(kHalves[1]), high);
  const __m512i sums = _mm512_or_si512(_mm512_and_si512(first, _mm512_set1_epi32(0xffff)),
                                       _mm512_slli_epi32(second, 16));
  alignas(64) constexpr std::uint32_t kPairs[2][16] = {
      {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23},
      {8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31}};
  for (int i = 0; i < 2; ++i) {
    _mm512_storeu_si512(blocks + 8 * i,
                        _mm512_permutex2var_epi32(scales, load_512(kPairs[i]), sums));
  }
}

// x[i]: 32 values of block i.
inline void quantize_blocks(const float* const* x, std::int8_t* codes, A8Block* blocks) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  __m512i largest[kBlocks];
  CRIA_UNROLL
  for (int i = 0; i < kBlocks; ++i) {
    largest[i] = _mm512_max_epu32(_mm512_and_si512(load_512(x[i]), magnitude),
                                  _mm512_and_si512(load_512(x[i] + 16), magnitude));
  }
  const __m512i amax = max_of_each(largest);
  const int overflow = static_cast<int>(spec::kA8OverflowBits);
  const int smallest = static_cast<int>(spec::kA8SmallestBits);
  const auto rare = _mm512_cmpgt_epi32_mask(amax, _mm512_set1_epi32(overflow - 1)) |
                    _mm512_cmpgt_epi32_mask(_mm512_set1_epi32(smallest), amax);
  if (rare != 0) {  // zeros and what is not finite
    for (int i = 0; i < kBlocks; ++i) {
      spec::quantize_a8_block(x[i], codes + i * kColumnGroup, blocks[i]);
    }
    return;
  }
  // spec::a8_scale
  constexpr int kBehind = (1 << (24 - kA8ScaleBits)) - 1;
  const __m512 part = _mm512_div_ps(_mm512_castsi512_ps(amax), _mm512_set1_ps(127.0f));
  const __m512i scales =
      _mm512_and_si512(_mm512_add_epi32(_mm512_castps_si512(part), _mm512_set1_epi32(kBehind)),
                       _mm512_set1_epi32(~kBehind));
  alignas(64) float inverses[kBlocks];
  _mm512_storeu_ps(inverses, _mm512_div_ps(_mm512_set1_ps(1.0f), _mm512_castsi512_ps(scales)));
  __m512i sums_of_four[kBlocks / 2];
  CRIA_UNROLL
  for (int i = 0; i < kBlocks / 2; ++i) {
    const __m512i bytes = codes_of_two(x + 2 * i, inverses + 2 * i);
    _mm512_storeu_si512(codes + 2 * i * kColumnGroup, bytes);
    sums_of_four[i] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), bytes);
  }
  store_blocks(scales, sums_of_four, blocks);
}

// Rows that lie in one tile of tokens.
struct TileRows {
  const float* x;  // of the first row
  std::int64_t x_stride;
  std::int64_t n;      // rows
  std::int64_t width;  // tokens of the tile: a column's blocks are as many places behind the last's
};

// The next 16 blocks, column by column: where their values are, and in which places they belong,
// from the first row's first block on. Behind the last block, blocks that exist.
class NextBlocks {
 public:
  explicit NextBlocks(const TileRows& rows) : rows_(rows), at_(rows.x) {}

  void take(int n) {
    for (int i = 0; i < n; ++i) {
      x[i] = at_;
      to[i] = column_ * rows_.width + row_;
      at_ += rows_.x_stride;
      if (++row_ < rows_.n) continue;
      row_ = 0;
      at_ = rows_.x + ++column_ * kColumnGroup;
    }
    for (int i = n; i < kBlocks; ++i) x[i] = x[0];
  }

  const float* x[kBlocks];
  std::int64_t to[kBlocks];

 private:
  const TileRows& rows_;
  const float* at_;
  std::int64_t row_ = 0, column_ = 0;
};

// `n_blocks` whole blocks of each row, `codes` and `blocks` from those of the first row on.
void quantize_tile(const TileRows& rows, std::int64_t n_blocks, std::int8_t* codes,
                   A8Block* blocks) {
  NextBlocks next(rows);
  const std::int64_t n = rows.n * n_blocks;
  for (std::int64_t i = 0; i < n; i += kBlocks) {
    const int n_taken = static_cast<int>(std::min<std::int64_t>(kBlocks, n - i));
    next.take(n_taken);
    if (rows.n == rows.width && n_taken == kBlocks) {
      quantize_blocks(next.x, codes + i * kColumnGroup, blocks + i);
      continue;
    }
    alignas(64) std::int8_t some_codes[kBlocks * kColumnGroup];
    alignas(64) A8Block some_blocks[kBlocks];
    quantize_blocks(next.x, some_codes, some_blocks);
    for (int k = 0; k < n_taken; ++k) {
      std::memcpy(codes + next.to[k] * kColumnGroup, some_codes + k * kColumnGroup, kColumnGroup);
      blocks[next.to[k]] = some_blocks[k];
    }
  }
}

}  // namespace
}  // namespace avx512

void CRIA_AVX512VNNI_NAME(quantize_a8)(const QuantizeA8Args& args) {
  const std::int64_t n_blocks = a8_blocks(args.n_cols), n_whole = args.n_cols / kColumnGroup;
  const std::int64_t end = args.first_token + args.n_tokens;
  for (std::int64_t first = args.first_token; first < end;) {
    const std::int64_t tile = first / kA8TileTokens * kA8TileTokens;
    const std::int64_t width = std::min(kA8TileTokens, args.n_rows - tile);
    const std::int64_t n = std::min(tile + width, end) - first;
    const float* x = args.x + first * args.x_stride;
    const std::int64_t at = a8_index(first, 0, args.n_rows, n_blocks);
    avx512::quantize_tile({x, args.x_stride, n, width}, n_whole, args.codes + at * kColumnGroup,
                          args.blocks + at);
    for (std::int64_t t = 0; t < n && n_whole < n_blocks; ++t) {
      const std::int64_t last = at + n_whole * width + t;
      spec::quantize_a8_tail(x + t * args.x_stride + n_whole * kColumnGroup,
                             args.n_cols - n_whole * kColumnGroup, args.codes + last * kColumnGroup,
                             args.blocks[last]);
    }
    first += n;
  }
}

}  // namespace cria
