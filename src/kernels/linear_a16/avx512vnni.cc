// linear_a16 with AVX-512: decoded weights times broadcast activations, 16 rows to a register. The
// columns j of a quad are the four partial sums of the specification.
//
// A code becomes a float in two operations: vpshufb brings byte j of each row to the top of its
// lane, which is the code times 2^24, and the scale is divided by that.
#include "kernels/isa.h"
#include "kernels/linear_a8/avx512.h"
#include "kernels/panel/prefetch.h"

namespace cria {
namespace avx512::a16 {
namespace {

constexpr int kParts = 4;
// Columns decoded at a time when several tokens share them: 128 x 16 floats are 8 KiB.
constexpr int kChunkColumns = 128;
constexpr int kTokenBlock = 32;
constexpr int kTileTokens = 8;  // as many sums as the latency of two multipliers needs
// That one token reads side by side, but for AMD, where one after the other is faster where codes
// are not expanded. One Zen 4 core, GB/s: bf16 26 -> 28, q8 17 -> 20, q4 9.0 -> 11.3, q6k 11 -> 13;
// e8p2 3.3 -> 3.0.
constexpr int kOnePanels = 2;
// How far ahead codes are asked for, as in linear_a8.
constexpr int kPrefetchBytes = 2048;

// Partial sums of one token: [part][row].
using TokenParts = float[kParts][kPanelRows];

// A power of two cannot be divided by 2^24 where it is small: codes are shifted down instead.
template <Encoding encoding>
inline constexpr bool kShifted = encoding_spec(encoding).scale != ScaleKind::kE8M0;

// Scales (over 2^24 where kShifted) and mins of one group as floats, by block.
template <Encoding encoding>
struct FloatScales {
  static constexpr int kBlocks = kColumnGroup / encoding_spec(encoding).block;
  __m512 scale[kBlocks];
  __m512 min[kBlocks];
};

template <Encoding encoding>
inline FloatScales<encoding> load_float_scales(const spec::Group& group) {
  constexpr EncodingSpec kSpec = encoding_spec(encoding);
  constexpr int kBlocks = FloatScales<encoding>::kBlocks;
  FloatScales<encoding> out;
  CRIA_UNROLL
  for (int b = 0; b < kBlocks; ++b) {
    out.scale[b] = load_scale<encoding>(group, b);
    out.min[b] = _mm512_setzero_ps();
    if constexpr (kSpec.has_min) out.min[b] = load_min<encoding>(group, b);
    if constexpr (kShifted<encoding>) {
      out.scale[b] = _mm512_mul_ps(out.scale[b], _mm512_set1_ps(0x1p-24f));
    }
  }
  return out;
}

// One quad as signed bytes: what the codes stand for.
template <Encoding encoding>
inline __m512i load_values(const std::uint8_t* group, __m512i table, int quad) {
  const __m512i codes = load_codes<encoding>(group, quad, table);
  if constexpr (kHasTable<encoding> || kOffset<encoding> == 0) return codes;
  return _mm512_sub_epi8(codes, _mm512_set1_epi8(static_cast<char>(kOffset<encoding>)));
}

// For vpshufb: byte j of each 32 bits at the top, zeros below.
struct ByteToTop {
  __m512i of[4];
  ByteToTop() {
    for (int j = 0; j < 4; ++j) {
      alignas(16) std::uint8_t index[16];
      for (int i = 0; i < 16; ++i) {
        index[i] = static_cast<std::uint8_t>(i % 4 == 3 ? i - 3 + j : 0x80);
      }
      of[j] = repeat_128(_mm_load_si128(reinterpret_cast<const __m128i*>(index)));
    }
  }
};

template <Encoding encoding>
inline __m512 column_of(__m512i values, __m512i to_top) {
  const __m512i top = _mm512_shuffle_epi8(values, to_top);
  if constexpr (kShifted<encoding>) return _mm512_cvtepi32_ps(top);
  return _mm512_cvtepi32_ps(_mm512_srai_epi32(top, 24));
}

// Calls visit(k, w) for the 32 columns of a group: w = the weights of 16 rows in column k.
template <Encoding encoding, typename Visit>
inline void for_each_weight(const spec::Group& group, __m512i table, const ByteToTop& to_top,
                            const Visit& visit) {
  constexpr EncodingSpec kSpec = encoding_spec(encoding);
  const FloatScales<encoding> scales = load_float_scales<encoding>(group);
  avx2::ExpandedGroup expanded;
  const std::uint8_t* codes = group_codes<encoding>(group, expanded);
  CRIA_UNROLL
  for (int q = 0; q < kQuads; ++q) {
    const int b = 4 * q / kSpec.block;
    const __m512i values = load_values<encoding>(codes, table, q);
    CRIA_UNROLL
    for (int j = 0; j < 4; ++j) {
      visit(4 * q + j, _mm512_fmadd_ps(scales.scale[b], column_of<encoding>(values, to_top.of[j]),
                                       scales.min[b]));
    }
  }
}

// Row 0 to 15 of a column of a dense panel, `at` elements from its start.
template <Encoding encoding>
inline __m512 load_dense(const std::byte* panel, std::int64_t at) {
  if constexpr (encoding == Encoding::kF32) {
    return _mm512_loadu_ps(reinterpret_cast<const float*>(panel) + at);
  } else if constexpr (encoding == Encoding::kF16) {
    return load_halves(panel + 2 * at);
  } else {
    const __m512i wide =
        _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(panel + 2 * at)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
  }
}

// Block-encoded panels that follow each other, for one token: weights go from the codes straight
// into the sums.
template <Encoding encoding, int kPanels>
void run_one(const std::byte* first, const PanelLayout& layout, const float* x, std::int64_t n_cols,
             TokenParts* parts) {
  const __m512i table = code_table<encoding>(0);
  const ByteToTop to_top;
  const std::byte* panels[kPanels];
  spec::GroupWalk<encoding> walk(layout.scale_shift, 0);
  __m512 acc[kPanels][kParts];
  for (int p = 0; p < kPanels; ++p) {
    panels[p] = first + static_cast<std::size_t>(p) * layout.size_bytes;
    for (auto& part : acc[p]) part = _mm512_setzero_ps();
  }
  float padded[kColumnGroup] = {};
  for (std::int64_t k0 = 0; k0 < n_cols; k0 += kColumnGroup, walk.next()) {
    const float* x_group = x + k0;
    if (n_cols - k0 < kColumnGroup) {  // weights of the padding meet zeros
      std::memcpy(padded, x_group, static_cast<std::size_t>(n_cols - k0) * sizeof(float));
      x_group = padded;
    }
    CRIA_UNROLL
    for (int p = 0; p < kPanels; ++p) {
      const spec::Group group = walk.of(panels[p]);
      const std::uint8_t* ahead = group.codes + kPrefetchBytes;
      for (int line = 0; line < encoding_spec(encoding).group_bytes(); line += 64) {
        _mm_prefetch(reinterpret_cast<const char*>(ahead + line), _MM_HINT_T0);
      }
      for_each_weight<encoding>(group, table, to_top, [&](int k, __m512 w) {
        acc[p][k % 4] = _mm512_fmadd_ps(w, _mm512_set1_ps(x_group[k]), acc[p][k % 4]);
      });
    }
  }
  for (int p = 0; p < kPanels; ++p) {
    for (int j = 0; j < kParts; ++j) _mm512_storeu_ps(parts[p][j], acc[p][j]);
  }
}

template <Encoding encoding, int kPanels>
void run_one_dense(const std::byte* first, const PanelLayout& layout, const float* x,
                   std::int64_t n_cols, TokenParts* parts) {
  __m512 acc[kPanels][kParts];
  for (auto& panel : acc) {
    for (auto& part : panel) part = _mm512_setzero_ps();
  }
  for (std::int64_t k = 0; k < n_cols; k += 4) {
    CRIA_UNROLL
    for (int j = 0; j < kParts; ++j) {
      if (k + j >= n_cols) break;
      const __m512 x_k = _mm512_set1_ps(x[k + j]);
      CRIA_UNROLL
      for (int p = 0; p < kPanels; ++p) {
        const __m512 w = load_dense<encoding>(
            first + static_cast<std::size_t>(p) * layout.size_bytes, (k + j) * kPanelRows);
        acc[p][j] = _mm512_fmadd_ps(w, x_k, acc[p][j]);
      }
    }
  }
  for (int p = 0; p < kPanels; ++p) {
    for (int j = 0; j < kParts; ++j) _mm512_storeu_ps(parts[p][j], acc[p][j]);
  }
}

// Decodes the columns [k0, k0 + n) of a panel to w[column][16]; k0 and the buffer are multiples of
// whole groups. Float panels are used where they lie.
template <Encoding encoding>
inline const float* decode_chunk(const std::byte* panel, const PanelLayout& layout, std::int64_t k0,
                                 int n, float* w) {
  if constexpr (encoding == Encoding::kF32) {
    return reinterpret_cast<const float*>(panel) + k0 * kPanelRows;
  } else if constexpr (encoding_spec(encoding).dense()) {
    for (int k = 0; k < n; ++k) {
      _mm512_storeu_ps(w + k * kPanelRows, load_dense<encoding>(panel, (k0 + k) * kPanelRows));
    }
  } else {
    spec::GroupWalk<encoding> walk(layout.scale_shift, k0 / kColumnGroup);
    const __m512i table = code_table<encoding>(0);
    const ByteToTop to_top;
    for (int k = 0; k < n; k += kColumnGroup, walk.next()) {
      float* to = w + k * kPanelRows;
      for_each_weight<encoding>(walk.of(panel), table, to_top, [&](int column, __m512 weights) {
        _mm512_storeu_ps(to + column * kPanelRows, weights);
      });
    }
  }
  return w;
}

// One chunk for a tile of tokens, part after part: the sums stay in registers.
template <int kTokens>
void run_chunk(const float* w, int n, const float* x, std::int64_t x_stride, TokenParts* parts) {
  for (int j = 0; j < kParts; ++j) {
    __m512 acc[kTokens];
    CRIA_UNROLL
    for (int t = 0; t < kTokens; ++t) acc[t] = _mm512_loadu_ps(parts[t][j]);
    for (int k = j; k < n; k += kParts) {
      const __m512 w_k = _mm512_loadu_ps(w + k * kPanelRows);
      CRIA_UNROLL
      for (int t = 0; t < kTokens; ++t) {
        acc[t] = _mm512_fmadd_ps(w_k, _mm512_set1_ps(x[t * x_stride + k]), acc[t]);
      }
    }
    CRIA_UNROLL
    for (int t = 0; t < kTokens; ++t) _mm512_storeu_ps(parts[t][j], acc[t]);
  }
}

template <Encoding encoding>
void run_many(const LinearA16Args& args, const std::byte* panel, const PanelLayout& layout,
              std::int64_t first, int n_tokens, TokenParts* parts) {
  alignas(64) float buffer[kChunkColumns * kPanelRows];
  std::memset(parts, 0, sizeof(TokenParts) * static_cast<std::size_t>(n_tokens));
  for (std::int64_t k0 = 0; k0 < args.n_cols; k0 += kChunkColumns) {
    const std::int64_t left = args.n_cols - k0;
    const int n = left < kChunkColumns ? static_cast<int>(left) : kChunkColumns;
    const float* w = decode_chunk<encoding>(panel, layout, k0, n, buffer);
    const float* x = args.x + first * args.x_stride + k0;
    int t = 0;
    for (; t + kTileTokens <= n_tokens; t += kTileTokens) {
      run_chunk<kTileTokens>(w, n, x + t * args.x_stride, args.x_stride, parts + t);
    }
    for (; t + 2 <= n_tokens; t += 2) {
      run_chunk<2>(w, n, x + t * args.x_stride, args.x_stride, parts + t);
    }
    if (t < n_tokens) run_chunk<1>(w, n, x + t * args.x_stride, args.x_stride, parts + t);
  }
}

inline void write_parts(const LinearA16Args& args, const TokenParts* parts, std::int64_t row,
                        std::int64_t first, int n_tokens) {
  const std::int64_t left = args.n_rows - row;
  const int n_rows = left < kPanelRows ? static_cast<int>(left) : kPanelRows;
  for (int t = 0; t < n_tokens; ++t) {
    float* out = args.out + (first + t) * args.out_stride + row;
    for (int r = 0; r < n_rows; ++r) {
      const float acc = (parts[t][0][r] + parts[t][1][r]) + (parts[t][2][r] + parts[t][3][r]);
      out[r] = args.accumulate ? out[r] + acc : acc;
    }
  }
}

// All rows for one token, from `row` on; returns the first row that is left.
template <Encoding encoding, int kPanels>
std::int64_t run_one_rows(const LinearA16Args& args, const PanelLayout& layout, std::int64_t row,
                          std::int64_t token) {
  const float* x = args.x + token * args.x_stride;
  for (; row + (kPanels - 1) * kPanelRows < args.n_rows; row += kPanels * kPanelRows) {
    const std::byte* panel =
        args.panels + static_cast<std::size_t>(row / kPanelRows) * layout.size_bytes;
    TokenParts parts[kPanels];
    if constexpr (encoding_spec(encoding).dense()) {
      run_one_dense<encoding, kPanels>(panel, layout, x, args.n_cols, parts);
    } else {
      run_one<encoding, kPanels>(panel, layout, x, args.n_cols, parts);
    }
    for (int p = 0; p < kPanels; ++p) write_parts(args, parts + p, row + p * kPanelRows, token, 1);
  }
  return row;
}

template <Encoding encoding>
void linear_a16_of(const LinearA16Args& args) {
  const PanelLayout layout = panel_layout(args.encoding, args.n_cols);
  if (args.n_tokens == 1) {
    std::int64_t row = 0;
    if (!avx2::is_amd() || avx2::kExpands<encoding>) {
      row = run_one_rows<encoding, kOnePanels>(args, layout, row, 0);
    }
    run_one_rows<encoding, 1>(args, layout, row, 0);
    return;
  }
  const std::byte* panel = args.panels;
  for (std::int64_t row = 0; row < args.n_rows; row += kPanelRows, panel += layout.size_bytes) {
    for (std::int64_t first = 0; first < args.n_tokens; first += kTokenBlock) {
      const std::int64_t left = args.n_tokens - first;
      const int n = left < kTokenBlock ? static_cast<int>(left) : kTokenBlock;
      TokenParts parts[kTokenBlock];
      run_many<encoding>(args, panel, layout, first, n, parts);
      write_parts(args, parts, row, first, n);
    }
  }
}

}  // namespace
}  // namespace avx512::a16

void CRIA_AVX512VNNI_NAME(linear_a16)(const LinearA16Args& args) {
  switch (kernel_form(args.encoding)) {
#define CRIA_CASE(name) \
  case Encoding::name:  \
    return avx512::a16::linear_a16_of<Encoding::name>(args);
    CRIA_CASE(kF32)
    CRIA_CASE(kF16)
    CRIA_CASE(kBF16)
    CRIA_FOR_EACH_BLOCK_ENCODING(CRIA_CASE)
#undef CRIA_CASE
    default:
      return;  // kernel_form() gives nothing else
  }
}

}  // namespace cria
