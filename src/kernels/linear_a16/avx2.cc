// linear_a16 with AVX2: decoded weights times broadcast activations, 8 rows to a register. The
// columns j of a quad are the four partial sums of the specification.
#include "kernels/isa.h"
#include "kernels/panel/avx2_words.h"

namespace cria {
namespace avx2 {
namespace {

constexpr int kParts = 4;
// Columns decoded at a time when several tokens share them: 128 x 16 floats are 8 KiB.
constexpr int kChunkColumns = 128;
constexpr int kTokenBlock = 32;
constexpr int kTileTokens = 4;

// Partial sums of one token: [part][row].
using TokenParts = float[kParts][kPanelRows];

// Scales and mins of one group as floats, by block and half of 8 rows.
template <Encoding encoding>
struct FloatScales {
  static constexpr int kBlocks = kColumnGroup / encoding_spec(encoding).block;
  __m256 scale[kBlocks][2];
  __m256 min[kBlocks][2];
};

template <Encoding encoding>
inline FloatScales<encoding> load_float_scales(const spec::Group& group) {
  constexpr EncodingSpec kSpec = encoding_spec(encoding);
  constexpr int kBlocks = FloatScales<encoding>::kBlocks;
  FloatScales<encoding> out;
  for (int h = 0; h < 2; ++h) {
    for (int b = 0; b < kBlocks; ++b) {
      out.scale[b][h] = load_scale<encoding>(group, b, h);
      out.min[b][h] = _mm256_setzero_ps();
      if constexpr (kSpec.has_min) {
        out.min[b][h] = load_min<encoding>(group, b, h);
      }
    }
  }
  return out;
}

// One quad as signed bytes: what the codes stand for.
template <Encoding encoding>
inline __m256i load_values(const std::uint8_t* group, __m256i table, int quad, int half) {
  constexpr EncodingSpec kSpec = encoding_spec(encoding);
  const __m256i codes = load_quad<kGroupBits<encoding>>(group, quad, half);
  if constexpr (kSpec.codebook == Codebook::kSigned) {
    return _mm256_sub_epi8(codes, _mm256_set1_epi8(static_cast<char>(1 << (kSpec.bits - 1))));
  } else if constexpr (kSpec.codebook == Codebook::kUnsigned || kSpec.code_columns() > 1) {
    return codes;
  } else {
    return _mm256_shuffle_epi8(table, codes);
  }
}

template <Encoding encoding>
inline __m256i load_table() {
  constexpr EncodingSpec kSpec = encoding_spec(encoding);
  if constexpr (kSpec.codebook == Codebook::kIq4Nl || kSpec.codebook == Codebook::kMxfp4) {
    return _mm256_broadcastsi128_si256(load_128(codebook_values(kSpec.codebook)));
  }
  return _mm256_setzero_si256();
}

// Byte j of each 32 bits as a float.
inline __m256 column_of(__m256i values, int j) {
  return _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(values, 24 - 8 * j), 24));
}

// Calls visit(k, half, w) for the 32 columns of a group: w = the weights of 8 rows in column k.
template <Encoding encoding, typename Visit>
inline void for_each_weight(const spec::Group& group, __m256i table, const Visit& visit) {
  constexpr EncodingSpec kSpec = encoding_spec(encoding);
  const FloatScales<encoding> scales = load_float_scales<encoding>(group);
  ExpandedGroup expanded;
  const std::uint8_t* codes = group_codes<encoding>(group, 0, expanded);
  CRIA_UNROLL
  for (int q = 0; q < kQuads; ++q) {
    const int b = 4 * q / kSpec.block;
    for (int h = 0; h < 2; ++h) {
      const __m256i values = load_values<encoding>(codes, table, q, h);
      CRIA_UNROLL
      for (int j = 0; j < 4; ++j) {
        visit(4 * q + j, h,
              _mm256_fmadd_ps(scales.scale[b][h], column_of(values, j), scales.min[b][h]));
      }
    }
  }
}

// Element `at` of a dense panel and the seven after it.
template <Encoding encoding>
inline __m256 load_dense(const std::byte* panel, std::int64_t at) {
  if constexpr (encoding == Encoding::kF32) {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(panel) + at);
  } else if constexpr (encoding == Encoding::kF16) {
    return load_halves(panel + 2 * at);
  } else {
    const __m256i wide = _mm256_cvtepu16_epi32(load_128(panel + 2 * at));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
  }
}

// A whole block-encoded panel for one token: weights go from the codes straight into the sums.
template <Encoding encoding>
void run_one(const std::byte* panel, const PanelLayout& layout, const float* x, std::int64_t n_cols,
             TokenParts& parts) {
  spec::GroupWalk<encoding> walk(layout.scale_shift, 0);
  const __m256i table = load_table<encoding>();
  __m256 acc[kParts][2];
  for (auto& part : acc) part[0] = part[1] = _mm256_setzero_ps();
  float padded[kColumnGroup] = {};
  for (std::int64_t k0 = 0; k0 < n_cols; k0 += kColumnGroup, walk.next()) {
    const float* x_group = x + k0;
    if (n_cols - k0 < kColumnGroup) {  // weights of the padding meet zeros
      std::memcpy(padded, x_group, static_cast<std::size_t>(n_cols - k0) * sizeof(float));
      x_group = padded;
    }
    for_each_weight<encoding>(walk.of(panel), table, [&](int k, int h, __m256 w) {
      acc[k % 4][h] = _mm256_fmadd_ps(w, _mm256_broadcast_ss(x_group + k), acc[k % 4][h]);
    });
  }
  for (int j = 0; j < kParts; ++j) {
    for (int h = 0; h < 2; ++h) _mm256_storeu_ps(parts[j] + 8 * h, acc[j][h]);
  }
}

template <Encoding encoding>
void run_one_dense(const std::byte* panel, const float* x, std::int64_t n_cols, TokenParts& parts) {
  __m256 acc[kParts][2];
  for (auto& part : acc) part[0] = part[1] = _mm256_setzero_ps();
  for (std::int64_t k = 0; k < n_cols; k += 4) {
    CRIA_UNROLL
    for (int j = 0; j < kParts; ++j) {
      if (k + j >= n_cols) break;
      const __m256 x_k = _mm256_broadcast_ss(x + k + j);
      for (int h = 0; h < 2; ++h) {
        const __m256 w = load_dense<encoding>(panel, (k + j) * kPanelRows + 8 * h);
        acc[j][h] = _mm256_fmadd_ps(w, x_k, acc[j][h]);
      }
    }
  }
  for (int j = 0; j < kParts; ++j) {
    for (int h = 0; h < 2; ++h) _mm256_storeu_ps(parts[j] + 8 * h, acc[j][h]);
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
    for (int i = 0; i < n * kPanelRows; i += 8) {
      _mm256_store_ps(w + i, load_dense<encoding>(panel, k0 * kPanelRows + i));
    }
  } else {
    spec::GroupWalk<encoding> walk(layout.scale_shift, k0 / kColumnGroup);
    const __m256i table = load_table<encoding>();
    for (int k = 0; k < n; k += kColumnGroup, walk.next()) {
      float* to = w + k * kPanelRows;
      for_each_weight<encoding>(walk.of(panel), table, [&](int column, int h, __m256 weights) {
        _mm256_store_ps(to + column * kPanelRows + 8 * h, weights);
      });
    }
  }
  return w;
}

// One chunk for a tile of tokens: part after part, so that 4 tokens x 16 rows stay in registers.
template <int kTokens>
void run_chunk(const float* w, int n, const float* x, std::int64_t x_stride, TokenParts* parts) {
  for (int j = 0; j < kParts; ++j) {
    __m256 acc[kTokens][2];
    for (int t = 0; t < kTokens; ++t) {
      for (int h = 0; h < 2; ++h) acc[t][h] = _mm256_loadu_ps(parts[t][j] + 8 * h);
    }
    for (int k = j; k < n; k += kParts) {
      const __m256 w0 = _mm256_loadu_ps(w + k * kPanelRows);
      const __m256 w1 = _mm256_loadu_ps(w + k * kPanelRows + 8);
      for (int t = 0; t < kTokens; ++t) {
        const __m256 x_k = _mm256_broadcast_ss(x + t * x_stride + k);
        acc[t][0] = _mm256_fmadd_ps(w0, x_k, acc[t][0]);
        acc[t][1] = _mm256_fmadd_ps(w1, x_k, acc[t][1]);
      }
    }
    for (int t = 0; t < kTokens; ++t) {
      for (int h = 0; h < 2; ++h) _mm256_storeu_ps(parts[t][j] + 8 * h, acc[t][h]);
    }
  }
}

template <Encoding encoding>
void run_many(const LinearA16Args& args, const std::byte* panel, const PanelLayout& layout,
              std::int64_t first, int n_tokens, TokenParts* parts) {
  alignas(32) float buffer[kChunkColumns * kPanelRows];
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
    for (; t < n_tokens; ++t) {
      run_chunk<1>(w, n, x + t * args.x_stride, args.x_stride, parts + t);
    }
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

template <Encoding encoding>
void linear_a16_of(const LinearA16Args& args) {
  const PanelLayout layout = panel_layout(args.encoding, args.n_cols);
  const std::byte* panel = args.panels;
  for (std::int64_t row = 0; row < args.n_rows; row += kPanelRows, panel += layout.size_bytes) {
    for (std::int64_t first = 0; first < args.n_tokens; first += kTokenBlock) {
      const std::int64_t left = args.n_tokens - first;
      const int n = left < kTokenBlock ? static_cast<int>(left) : kTokenBlock;
      TokenParts parts[kTokenBlock];
      if (n > 1) {
        run_many<encoding>(args, panel, layout, first, n, parts);
      } else if constexpr (encoding_spec(encoding).dense()) {
        run_one_dense<encoding>(panel, args.x + first * args.x_stride, args.n_cols, parts[0]);
      } else {
        run_one<encoding>(panel, layout, args.x + first * args.x_stride, args.n_cols, parts[0]);
      }
      write_parts(args, parts, row, first, n);
    }
  }
}

}  // namespace
}  // namespace avx2

void linear_a16_avx2(const LinearA16Args& args) {
  switch (kernel_form(args.encoding)) {
#define CRIA_CASE(name) \
  case Encoding::name:  \
    return avx2::linear_a16_of<Encoding::name>(args);
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
