// The GGUF block types as floats, straight from their definitions. Written without sight of
// split_stored.cc, so that the test that compares the two means something. Every product below is
// exact in a float (11 bits of a half float times at most 13), so only the last addition rounds.
#include <cassert>
#include <cmath>
#include <cstring>

#include "tensor/float16.h"
#include "tensor/storage_type.h"

namespace cria {
namespace {

using Bytes = const std::uint8_t*;

float half_at(Bytes p) {
  std::uint16_t bits;
  std::memcpy(&bits, p, sizeof(bits));
  return f16_to_f32(bits);
}

std::uint32_t u32_at(Bytes p) {
  std::uint32_t bits;
  std::memcpy(&bits, p, sizeof(bits));
  return bits;
}

// Element j of 32: low nibbles first, then high nibbles.
int nibble(Bytes qs, int j) { return j < 16 ? qs[j] & 15 : qs[j - 16] >> 4; }

void decode_q8_0(Bytes b, float* out) {
  const float d = half_at(b);
  for (int j = 0; j < 32; ++j) out[j] = d * static_cast<float>(static_cast<std::int8_t>(b[2 + j]));
}

void decode_q4_0(Bytes b, float* out) {
  const float d = half_at(b);
  for (int j = 0; j < 32; ++j) out[j] = d * static_cast<float>(nibble(b + 2, j) - 8);
}

void decode_q4_1(Bytes b, float* out) {
  const float d = half_at(b);
  const float m = half_at(b + 2);
  for (int j = 0; j < 32; ++j) out[j] = d * static_cast<float>(nibble(b + 4, j)) + m;
}

int five_bits(Bytes qh, Bytes qs, int j) {
  return nibble(qs, j) + 16 * static_cast<int>((u32_at(qh) >> j) & 1);
}

void decode_q5_0(Bytes b, float* out) {
  const float d = half_at(b);
  for (int j = 0; j < 32; ++j) out[j] = d * static_cast<float>(five_bits(b + 2, b + 6, j) - 16);
}

void decode_q5_1(Bytes b, float* out) {
  const float d = half_at(b);
  const float m = half_at(b + 2);
  for (int j = 0; j < 32; ++j) out[j] = d * static_cast<float>(five_bits(b + 4, b + 8, j)) + m;
}

// Element e = 128 n + 32 s + l of the 256 of Q2_K and Q3_K: two bits at 2s of byte 32 n + l.
int two_bits(Bytes qs, int e) { return (qs[32 * (e / 128) + e % 32] >> (2 * (e % 128 / 32))) & 3; }

void decode_q2_k(Bytes b, float* out) {
  const float d = half_at(b + 80);
  const float dmin = half_at(b + 82);
  for (int e = 0; e < 256; ++e) {
    const int sub = b[e / 16];
    out[e] = d * static_cast<float>((sub & 15) * two_bits(b + 16, e)) -
             dmin * static_cast<float>(sub >> 4);
  }
}

void decode_q3_k(Bytes b, float* out) {
  Bytes packed = b + 96;
  const float d = half_at(b + 108);
  for (int e = 0; e < 256; ++e) {
    const int j = e / 16;
    const int low = j < 8 ? packed[j] & 15 : packed[j - 8] >> 4;
    const int high = (packed[8 + j % 4] >> (2 * (j / 4))) & 3;
    const bool plus = ((b[e % 32] >> (e / 32)) & 1) != 0;
    const int q = two_bits(b + 32, e) - (plus ? 0 : 4);
    out[e] = d * static_cast<float>((low + 16 * high - 32) * q);
  }
}

struct ScaleAndMin {
  int scale;
  int min;
};

// Sub-block i of 8 in the twelve bytes of Q4_K and Q5_K.
ScaleAndMin six_bits(Bytes packed, int i) {
  if (i < 4) return {packed[i] & 63, packed[i + 4] & 63};
  return {(packed[i + 4] & 15) + 16 * (packed[i - 4] >> 6),
          (packed[i + 4] >> 4) + 16 * (packed[i] >> 6)};
}

// Element e of Q4_K's and Q5_K's nibbles: chunks of 64 share 32 bytes.
int chunk_nibble(Bytes qs, int e) {
  const int byte = qs[32 * (e / 64) + e % 32];
  return e % 64 < 32 ? byte & 15 : byte >> 4;
}

void decode_q4_k(Bytes b, float* out) {
  const float d = half_at(b);
  const float dmin = half_at(b + 2);
  for (int e = 0; e < 256; ++e) {
    const auto [scale, min] = six_bits(b + 4, e / 32);
    out[e] =
        d * static_cast<float>(scale * chunk_nibble(b + 16, e)) - dmin * static_cast<float>(min);
  }
}

void decode_q5_k(Bytes b, float* out) {
  const float d = half_at(b);
  const float dmin = half_at(b + 2);
  for (int e = 0; e < 256; ++e) {
    const auto [scale, min] = six_bits(b + 4, e / 32);
    const int q = chunk_nibble(b + 48, e) + 16 * ((b[16 + e % 32] >> (e / 32)) & 1);
    out[e] = d * static_cast<float>(scale * q) - dmin * static_cast<float>(min);
  }
}

void decode_q6_k(Bytes b, float* out) {
  const float d = half_at(b + 208);
  for (int e = 0; e < 256; ++e) {
    const int n = e / 128;
    const int quarter = e % 128 / 32;
    const int l = e % 32;
    const int low_byte = b[64 * n + 32 * (quarter % 2) + l];
    const int low = quarter < 2 ? low_byte & 15 : low_byte >> 4;
    const int high = (b[128 + 32 * n + l] >> (2 * quarter)) & 3;
    const int scale = static_cast<std::int8_t>(b[192 + e / 16]);
    out[e] = d * static_cast<float>(scale * (low + 16 * high - 32));
  }
}

void decode_iq4_nl(Bytes b, float* out) {
  const std::int8_t* values = codebook_values(Codebook::kIq4Nl);
  const float d = half_at(b);
  for (int j = 0; j < 32; ++j) out[j] = d * values[nibble(b + 2, j)];
}

void decode_iq4_xs(Bytes b, float* out) {
  const std::int8_t* values = codebook_values(Codebook::kIq4Nl);
  const int scales_high = b[2] | b[3] << 8;
  const float d = half_at(b);
  for (int e = 0; e < 256; ++e) {
    const int i = e / 32;
    const int low = (b[4 + i / 2] >> (4 * (i % 2))) & 15;
    const int scale = low + 16 * ((scales_high >> (2 * i)) & 3) - 32;
    out[e] = d * static_cast<float>(scale * values[nibble(b + 8 + 16 * i, e % 32)]);
  }
}

void decode_mxfp4(Bytes b, float* out) {
  const std::int8_t* values = codebook_values(Codebook::kMxfp4);
  for (int j = 0; j < 32; ++j) {
    out[j] = std::ldexp(static_cast<float>(values[nibble(b + 1, j)]), b[0] - 128);
  }
}

void decode_plain(StorageType type, const std::byte* row, std::span<float> out) {
  if (type == StorageType::kF16) return f16_to_f32(row, out);
  if (type == StorageType::kBF16) return bf16_to_f32(row, out);
  std::memcpy(out.data(), row, out.size_bytes());
}

// In the order of StorageType, from the first block type on.
using DecodeBlock = void (*)(Bytes block, float* out);
constexpr DecodeBlock kDecodeBlock[] = {
    decode_q8_0, decode_q4_0, decode_q4_1, decode_q5_0,   decode_q5_1,   decode_q2_k, decode_q3_k,
    decode_q4_k, decode_q5_k, decode_q6_k, decode_iq4_nl, decode_iq4_xs, decode_mxfp4};
constexpr auto kFirstBlockType = static_cast<std::size_t>(StorageType::kQ8_0);

}  // namespace

void decode_stored_row(StorageType type, std::span<const std::byte> row, std::span<float> out) {
  const StorageSpec& spec = storage_spec(type);
  assert(row.size() == storage_row_bytes(type, static_cast<std::int64_t>(out.size())));
  if (spec.block_elements == 1) return decode_plain(type, row.data(), out);
  const DecodeBlock decode = kDecodeBlock[static_cast<std::size_t>(type) - kFirstBlockType];
  auto block = reinterpret_cast<Bytes>(row.data());
  for (std::size_t k = 0; k < out.size(); k += spec.block_elements, block += spec.block_bytes) {
    decode(block, out.data() + k);
  }
}

}  // namespace cria
