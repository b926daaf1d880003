#include "tensor/row_codes.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "tensor/code_words.h"
#include "tensor/e8p.h"
#include "tensor/float16.h"
#include "tensor/pairs.h"

namespace cria {
namespace {

std::size_t ceil_div(std::int64_t a, std::int64_t b) {
  return static_cast<std::size_t>((a + b - 1) / b);
}

// What each unsigned code of the encoding stands for.
void fill_values(const EncodingSpec& spec, std::span<float, 256> values) {
  const int n_codes = 1 << spec.bits;
  for (int u = 0; u < n_codes; ++u) {
    switch (spec.codebook) {
      case Codebook::kSigned:
        values[u] = static_cast<float>(u - n_codes / 2);
        break;
      case Codebook::kIq4Nl:
      case Codebook::kMxfp4:
        values[u] = codebook_values(spec.codebook)[u];
        break;
      case Codebook::kUnsigned:
      case Codebook::kNone:
      case Codebook::kE8P:
      case Codebook::kPairs:
        values[u] = static_cast<float>(u);
        break;
    }
  }
}

// The values of a row whose codes are for several columns, a word at a time.
void decode_words(const RowCodes& row, const EncodingSpec& spec, std::span<float> out) {
  const int width = spec.code_columns();
  std::int8_t values[8];
  for (std::int64_t k = 0; k < row.n_cols; ++k) {
    if (k % width == 0) {
      const std::uint32_t word = join_codes(row.codes.data() + k, width, spec.bits);
      if (spec.codebook == Codebook::kE8P) {
        e8p_decode_word(spec.bits, word, values);
      } else {
        pair_decode(pair_code_bits(spec.bits), word, values);
      }
    }
    out[k] =
        std::fma(block_scale(row, k / spec.block), static_cast<float>(values[k % width]), 0.0f);
  }
}

}  // namespace

RowCodes::RowCodes(Encoding encoding, std::int64_t n_cols) : encoding(encoding), n_cols(n_cols) {
  const EncodingSpec spec = encoding_spec(encoding);
  assert(!spec.dense() && n_cols > 0);
  const std::size_t n_blocks = ceil_div(n_cols, spec.block);
  const int width = spec.code_columns();
  codes.resize(ceil_div(n_cols, width) * static_cast<std::size_t>(width));
  if (spec.scale == ScaleKind::kF16) {
    scales_f16.resize(n_blocks);
    if (spec.has_min) mins_f16.resize(n_blocks);
    return;
  }
  scales_8.resize(n_blocks);
  if (spec.scale != ScaleKind::kSuper) return;
  super_scales.resize(ceil_div(n_cols, kSuperBlock));
  if (!spec.has_min) return;
  mins_8.resize(n_blocks);
  super_mins.resize(super_scales.size());
}

// The products of kSuper are exact: 11 bits of a half float times 8 bits.
float block_scale(const RowCodes& row, std::int64_t b) {
  const EncodingSpec spec = encoding_spec(row.encoding);
  switch (spec.scale) {
    case ScaleKind::kF16:
      return f16_to_f32(row.scales_f16[b]);
    case ScaleKind::kE8M0:
      return std::ldexp(1.0f, row.scales_8[b] - 128);
    case ScaleKind::kSuper:
      return f16_to_f32(row.super_scales[b * spec.block / kSuperBlock]) *
             static_cast<float>(static_cast<std::int8_t>(row.scales_8[b]));
    case ScaleKind::kNone:
      break;
  }
  return 0.0f;
}

float block_min(const RowCodes& row, std::int64_t b) {
  const EncodingSpec spec = encoding_spec(row.encoding);
  if (!spec.has_min) return 0.0f;
  if (spec.scale == ScaleKind::kF16) return f16_to_f32(row.mins_f16[b]);
  return -(f16_to_f32(row.super_mins[b * spec.block / kSuperBlock]) *
           static_cast<float>(row.mins_8[b]));
}

void decode_codes(const RowCodes& row, std::span<float> out) {
  const EncodingSpec spec = encoding_spec(row.encoding);
  assert(out.size() == static_cast<std::size_t>(row.n_cols));
  if (spec.code_columns() > 1) return decode_words(row, spec, out);
  float values[256];
  fill_values(spec, values);
  for (std::int64_t k = 0; k < row.n_cols;) {
    const std::int64_t b = k / spec.block;
    const float scale = block_scale(row, b);
    const float min = block_min(row, b);
    const std::int64_t end = std::min<std::int64_t>(row.n_cols, k + spec.block);
    for (; k < end; ++k) out[k] = std::fma(scale, values[row.codes[k]], min);
  }
}

}  // namespace cria
