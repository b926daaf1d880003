// attention with AVX2: int8 values are widened to 16 bits once for all rows, and multiplied with
// weights by vpmaddwd.
#include "kernels/attention/avx2.h"

namespace cria {
namespace avx2 {
namespace {

// A tile of values, widened: codes [quads of positions][head_dim][4].
struct ValueTile {
  alignas(32) std::int16_t codes[kTile * kMaxHeadDim];
  TileValueScales scales;
};

template <typename Form>
inline void widen_tile(const AttentionArgs& args, std::int64_t p0, int n, ValueTile& tile) {
  const std::int64_t dim = args.head_dim, panel_bytes = kv_panel_bytes(dim);
  const std::byte* panel = args.v + p0 / kKvPanel * panel_bytes;
  for (int first = 0; first < n; first += kKvPanel, panel += panel_bytes) {
    std::int16_t* codes = tile.codes + first * dim;
    for (std::int64_t i = 0; i < kKvPanel * dim; i += 16) {
      const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(panel + i));
      _mm256_store_si256(reinterpret_cast<__m256i*>(codes + i), _mm256_cvtepi8_epi16(bytes));
    }
  }
  tile.scales.load<Form>(args, p0, n);
}

// spec::weight_code of a tile, as bytes that are widened; returns spec::byte_factor.
inline int quantize_weights(const std::int16_t* words, const std::int16_t* scales,
                            std::int16_t* bytes) {
  __m256i codes[kTile / 16];
  __m256i largest = _mm256_setzero_si256();
  CRIA_UNROLL
  for (int i = 0; i < kTile / 16; ++i) {
    const auto load = [i](const std::int16_t* from) {
      return _mm256_load_si256(reinterpret_cast<const __m256i*>(from + 16 * i));
    };
    codes[i] = _mm256_mulhrs_epi16(load(words), load(scales));
    largest = _mm256_max_epi16(largest, codes[i]);
  }
  const __m128i factor = byte_factor(largest);
  const __m256i factors = _mm256_broadcastw_epi16(factor);
  CRIA_UNROLL
  for (int i = 0; i < kTile / 16; ++i) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(bytes + 16 * i),
                       _mm256_mulhrs_epi16(codes[i], factors));
  }
  return _mm_cvtsi128_si32(factor);
}

// acc[r][d .. d + 16) += scale[r] * sum over quads of codes[r] * the tile's.
template <int kRows>
inline void add_codes(const ValueTile& tile, const std::int16_t (*codes)[kTile],
                      const float* scales, std::int64_t dim, int n_quads, std::int64_t d,
                      Row* rows) {
  __m256i sum[kRows][4];
  for (auto& row : sum) {
    for (__m256i& v : row) v = _mm256_setzero_si256();
  }
  const std::int16_t* v = tile.codes + 4 * d;
#pragma GCC unroll 2
  for (int q = 0; q < n_quads; ++q, v += 4 * dim) {
    __m256i c[kRows];
    CRIA_UNROLL
    for (int r = 0; r < kRows; ++r) {
      long long four;
      std::memcpy(&four, codes[r] + 4 * q, sizeof(four));
      c[r] = _mm256_set1_epi64x(four);
    }
    CRIA_UNROLL
    for (int j = 0; j < 4; ++j) {
      __m256i value = _mm256_load_si256(reinterpret_cast<const __m256i*>(v + 16 * j));
      keep(value);  // else it is loaded again for each row
      CRIA_UNROLL
      for (int r = 0; r < kRows; ++r) {
        sum[r][j] = _mm256_add_epi32(sum[r][j], _mm256_madd_epi16(value, c[r]));
        keep(sum[r][j]);
      }
    }
  }
  CRIA_UNROLL
  for (int r = 0; r < kRows; ++r) {
    const __m256 scale = _mm256_set1_ps(scales[r]);
    CRIA_UNROLL
    for (int j = 0; j < 4; j += 2) {  // a lane has two of the four positions
      const __m256i both = _mm256_hadd_epi32(sum[r][j], sum[r][j + 1]);
      float* acc = rows[r].acc + d + 4 * j;
      const __m256 sums = _mm256_cvtepi32_ps(_mm256_permute4x64_epi64(both, 0xd8));
      _mm256_store_ps(acc, _mm256_fmadd_ps(sums, scale, _mm256_load_ps(acc)));
    }
  }
}

// Weights of all rows that see a tile, for 32 columns.
struct RowWeights {
  alignas(32) std::int16_t codes[attention_block::kMaxRows][kTile];
  float scales[attention_block::kMaxRows];
};

template <typename Form>
inline void quantize_rows(const Block& block, attention_block::ColumnScales& of_columns,
                          std::int64_t p0, RowWeights& out) {
  for (int r = block.first_row(p0); r < block.n_rows; ++r) {
    of_columns.normalize<Form>(block.rows[r].n_in_tile(p0));
    const int factor = quantize_weights(block.words[r], of_columns.words, out.codes[r]);
    out.scales[r] = of_columns.of_code * block.rows[r].grow * spec::codes_a_byte(factor);
  }
}

// Columns [d, d + 16) of all rows that see the tile.
inline void add_columns(Block& block, const ValueTile& tile, const RowWeights& weights,
                        std::int64_t p0, std::int64_t d) {
  const std::int64_t dim = block.args.head_dim;
  int r = block.first_row(p0);
  for (; r + 2 <= block.n_rows; r += 2) {
    const int n_quads = (block.rows[r + 1].n_in_tile(p0) + 3) / 4;
    add_codes<2>(tile, weights.codes + r, weights.scales + r, dim, n_quads, d, &block.rows[r]);
  }
  if (r == block.n_rows) return;
  const int n_quads = (block.rows[r].n_in_tile(p0) + 3) / 4;
  add_codes<1>(tile, weights.codes + r, weights.scales + r, dim, n_quads, d, &block.rows[r]);
}

// What attention/block.h leaves open.
struct Avx2Attention : HalfAttention {
  static void linear_a8(const LinearA8Args& args) { linear_a8_avx2(args); }

  static void weigh_tile(const AttentionArgs& args, float* scores, int n, Row& row) {
    for (int i = n / 8 * 8; i < kTile; i += 8) {
      const __m256 infinity = _mm256_set1_ps(-std::numeric_limits<float>::infinity());
      const __m256 seen = _mm256_castsi256_ps(below(i, n));
      _mm256_storeu_ps(scores + i, _mm256_blendv_ps(infinity, _mm256_loadu_ps(scores + i), seen));
    }
    const __m256 shrink =
        _mm256_set1_ps(attention_block::raise_top(args, max_of(scores, kTile), row));
    const __m256 top = _mm256_set1_ps(row.top);
    __m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (int i = 0; i < kTile; i += 16) {
      CRIA_UNROLL
      for (int half = 0; half < 2; ++half) {
        float* at = scores + i + 8 * half;
        const __m256 p = exp2_of_negative(_mm256_sub_ps(_mm256_loadu_ps(at), top));
        _mm256_storeu_ps(at, p);
        sum[half] = _mm256_add_ps(sum[half], p);
      }
    }
    for (int half = 0; half < 2; ++half) {
      float* before = row.sum + 8 * half;
      const __m256 shrunk = _mm256_mul_ps(_mm256_load_ps(before), shrink);
      _mm256_store_ps(before, _mm256_add_ps(sum[half], shrunk));
    }
  }

  template <bool kWhole>
  static TopScore top_of(const float* scores, int n) {
    const __m256 infinity = _mm256_set1_ps(-std::numeric_limits<float>::infinity());
    __m256 tops[2] = {infinity, infinity}, sums[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (int i = 0; i < n; i += 16) {
      CRIA_UNROLL
      for (int j = 0; j < 2; ++j) {
        __m256 s = _mm256_loadu_ps(scores + i + 8 * j);
        if (!kWhole) {
          s = _mm256_blendv_ps(infinity, s, _mm256_castsi256_ps(below(i + 8 * j, n)));
        }
        sums[j] = _mm256_add_ps(sums[j], s);
        tops[j] = _mm256_max_ps(s, tops[j]);  // in this order not-a-number is passed over
      }
    }
    const __m256 sum = _mm256_add_ps(sums[0], sums[1]);
    const __m256 is_nan = _mm256_cmp_ps(sum, sum, _CMP_UNORD_Q);
    return {max_of_lanes(_mm256_max_ps(tops[0], tops[1])), _mm256_movemask_ps(is_nan) != 0};
  }

  template <bool kWhole>
  static int make_words(const float* scores, const spec::WordOfScore& word, int n,
                        std::int16_t* words) {
    const __m256 slope = _mm256_set1_ps(word.slope), offset = _mm256_set1_ps(word.offset);
    const auto x_at = [&](int i) {
      const __m256 x = _mm256_fmadd_ps(_mm256_loadu_ps(scores + i), slope, offset);
      const __m256i integer = _mm256_cvtps_epi32(x);
      return kWhole ? integer : _mm256_and_si256(integer, below(i, n));
    };
    __m256i sum = _mm256_setzero_si256();
    for (int i = 0; i < kTile; i += 16) {
      __m256i weights = _mm256_setzero_si256();
      if (kWhole || i < n) weights = exp2_words(words_of(x_at(i), x_at(i + 8)));  // of 0 comes 0
      _mm256_store_si256(reinterpret_cast<__m256i*>(words + i), weights);
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(weights, _mm256_set1_epi16(1)));
    }
    return sum_of_ints(sum);
  }

  static void scale_words(const float* scales, float to_word, int n, std::int16_t* words) {
    const __m256 magic = _mm256_set1_ps(spec::kRoundingMagic);
    const auto word_at = [&](int i) {
      const __m256 x = _mm256_fmadd_ps(_mm256_load_ps(scales + i), _mm256_set1_ps(to_word), magic);
      const __m256i word = _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x7fff));
      return _mm256_and_si256(word, below(i, n));
    };
    for (int i = 0; i < kTile; i += 16) {
      _mm256_store_si256(reinterpret_cast<__m256i*>(words + i),
                         words_of(word_at(i), word_at(i + 8)));
    }
  }

  static void load_value_scales(const AttentionArgs& args, std::int64_t p0, int n,
                                ValueScales& scales) {
    avx2::load_value_scales(args, p0, n, scales);
  }

  static void add_values_q8(Block& block, std::int64_t p0, int n) {
    ValueTile tile;
    widen_tile<Avx2Attention>(block.args, p0, n, tile);
    RowWeights weights;
    const int n_scales = tile.scales.n(block.args.head_dim);
    for (std::int64_t d = 0; d < block.args.head_dim; d += 16) {
      const std::int64_t g = d / kColumnGroup;
      if (d % kColumnGroup == 0 && g < n_scales) {
        quantize_rows<Avx2Attention>(block, tile.scales.of[g], p0, weights);
      }
      add_columns(block, tile, weights, p0, d);
    }
  }
};

}  // namespace
}  // namespace avx2

void attention_avx2(const AttentionArgs& args) {
  attention_block::attention<avx2::Avx2Attention>(args);
}

}  // namespace cria
