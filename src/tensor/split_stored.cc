// The GGUF block types taken apart into codes, scales and mins. Nothing is computed on floats.
#include <cassert>
#include <cstring>

#include "tensor/storage_type.h"

namespace cria {
namespace {

using Bytes = const std::uint8_t*;

std::uint16_t u16_at(Bytes p) {
  std::uint16_t bits;
  std::memcpy(&bits, p, sizeof(bits));
  return bits;
}

// 16 bytes -> 32 codes: low nibbles, then high nibbles.
void split_nibbles(Bytes qs, int n_bytes, std::uint8_t* codes) {
  for (int i = 0; i < n_bytes; ++i) {
    codes[i] = qs[i] & 15;
    codes[i + n_bytes] = qs[i] >> 4;
  }
}

// Where one stored block lands in the row.
struct Slot {
  RowCodes& row;
  std::size_t index;  // of the stored block

  std::uint8_t* codes(int block_elements) const {
    return row.codes.data() + index * block_elements;
  }
  std::uint8_t* scales(int n) const { return row.scales_8.data() + index * n; }
  std::uint8_t* mins(int n) const { return row.mins_8.data() + index * n; }
};

void split_q8_0(Bytes b, Slot to) {
  to.row.scales_f16[to.index] = u16_at(b);
  for (int j = 0; j < 32; ++j) to.codes(32)[j] = b[2 + j] ^ 0x80;  // two's complement + 128
}

void split_q4_0(Bytes b, Slot to) {
  to.row.scales_f16[to.index] = u16_at(b);
  split_nibbles(b + 2, 16, to.codes(32));
}

void split_q4_1(Bytes b, Slot to) {
  to.row.scales_f16[to.index] = u16_at(b);
  to.row.mins_f16[to.index] = u16_at(b + 2);
  split_nibbles(b + 4, 16, to.codes(32));
}

void add_fifth_bits(Bytes qh, std::uint8_t* codes) {
  for (int byte = 0; byte < 4; ++byte) {
    for (int bit = 0; bit < 8; ++bit) {
      codes[8 * byte + bit] |= static_cast<std::uint8_t>(((qh[byte] >> bit) & 1) << 4);
    }
  }
}

void split_q5_0(Bytes b, Slot to) {
  to.row.scales_f16[to.index] = u16_at(b);
  split_nibbles(b + 6, 16, to.codes(32));
  add_fifth_bits(b + 2, to.codes(32));
}

void split_q5_1(Bytes b, Slot to) {
  to.row.scales_f16[to.index] = u16_at(b);
  to.row.mins_f16[to.index] = u16_at(b + 2);
  split_nibbles(b + 8, 16, to.codes(32));
  add_fifth_bits(b + 4, to.codes(32));
}

// 64 bytes of Q2_K and Q3_K: each half holds four times 32 codes, at rising bit positions.
void split_two_bits(Bytes qs, std::uint8_t* codes) {
  for (int half = 0; half < 2; ++half) {
    for (int shift = 0; shift < 8; shift += 2) {
      for (int l = 0; l < 32; ++l) *codes++ = (qs[32 * half + l] >> shift) & 3;
    }
  }
}

void split_q2_k(Bytes b, Slot to) {
  for (int j = 0; j < 16; ++j) {
    to.scales(16)[j] = b[j] & 15;
    to.mins(16)[j] = b[j] >> 4;
  }
  split_two_bits(b + 16, to.codes(256));
  to.row.super_scales[to.index] = u16_at(b + 80);
  to.row.super_mins[to.index] = u16_at(b + 82);
}

// The value q - (h ? 0 : 4) with q in 0..3 is (q + 4 h) - 4: the mask is the code's third bit.
void split_q3_k(Bytes b, Slot to) {
  std::uint8_t* codes = to.codes(256);
  split_two_bits(b + 32, codes);
  for (int bit = 0; bit < 8; ++bit) {
    for (int l = 0; l < 32; ++l) {
      codes[32 * bit + l] |= static_cast<std::uint8_t>(((b[l] >> bit) & 1) << 2);
    }
  }
  Bytes packed = b + 96;
  for (int j = 0; j < 4; ++j) {
    const int high = packed[8 + j];
    const int scales[4] = {
        (packed[j] & 15) | (high & 3) << 4, (packed[4 + j] & 15) | ((high >> 2) & 3) << 4,
        (packed[j] >> 4) | ((high >> 4) & 3) << 4, (packed[4 + j] >> 4) | ((high >> 6) & 3) << 4};
    for (int i = 0; i < 4; ++i)
      to.scales(16)[4 * i + j] = static_cast<std::uint8_t>(scales[i] - 32);
  }
  to.row.super_scales[to.index] = u16_at(b + 108);
}

// The twelve bytes of Q4_K and Q5_K: 8 six-bit scales and 8 six-bit mins.
void split_six_bits(Bytes packed, Slot to) {
  for (int i = 0; i < 4; ++i) {
    to.scales(8)[i] = packed[i] & 63;
    to.mins(8)[i] = packed[4 + i] & 63;
    to.scales(8)[4 + i] = static_cast<std::uint8_t>((packed[8 + i] & 15) | (packed[i] >> 6) << 4);
    to.mins(8)[4 + i] = static_cast<std::uint8_t>((packed[8 + i] >> 4) | (packed[4 + i] >> 6) << 4);
  }
}

void split_q4_k(Bytes b, Slot to) {
  to.row.super_scales[to.index] = u16_at(b);
  to.row.super_mins[to.index] = u16_at(b + 2);
  split_six_bits(b + 4, to);
  for (int chunk = 0; chunk < 4; ++chunk) {
    split_nibbles(b + 16 + 32 * chunk, 32, to.codes(256) + 64 * chunk);
  }
}

void split_q5_k(Bytes b, Slot to) {
  to.row.super_scales[to.index] = u16_at(b);
  to.row.super_mins[to.index] = u16_at(b + 2);
  split_six_bits(b + 4, to);
  std::uint8_t* codes = to.codes(256);
  for (int chunk = 0; chunk < 4; ++chunk) {
    split_nibbles(b + 48 + 32 * chunk, 32, codes + 64 * chunk);
  }
  for (int sub = 0; sub < 8; ++sub) {
    for (int l = 0; l < 32; ++l) {
      codes[32 * sub + l] |= static_cast<std::uint8_t>(((b[16 + l] >> sub) & 1) << 4);
    }
  }
}

void split_q6_k(Bytes b, Slot to) {
  for (int half = 0; half < 2; ++half) {
    std::uint8_t* codes = to.codes(256) + 128 * half;
    split_nibbles(b + 64 * half, 64, codes);
    for (int quarter = 0; quarter < 4; ++quarter) {
      for (int l = 0; l < 32; ++l) {
        const int high = (b[128 + 32 * half + l] >> (2 * quarter)) & 3;
        codes[32 * quarter + l] |= static_cast<std::uint8_t>(high << 4);
      }
    }
  }
  std::memcpy(to.scales(16), b + 192, 16);
  to.row.super_scales[to.index] = u16_at(b + 208);
}

void split_iq4_xs(Bytes b, Slot to) {
  to.row.super_scales[to.index] = u16_at(b);
  const int scales_high = u16_at(b + 2);
  for (int i = 0; i < 8; ++i) {
    const int low = i % 2 == 0 ? b[4 + i / 2] & 15 : b[4 + i / 2] >> 4;
    const int high = (scales_high >> (2 * i)) & 3;
    to.scales(8)[i] = static_cast<std::uint8_t>((low | high << 4) - 32);
    split_nibbles(b + 8 + 16 * i, 16, to.codes(256) + 32 * i);
  }
}

void split_mxfp4(Bytes b, Slot to) {
  to.row.scales_8[to.index] = b[0];
  split_nibbles(b + 1, 16, to.codes(32));
}

using SplitBlock = void (*)(Bytes block, Slot to);

SplitBlock split_function(StorageType type) {
  switch (type) {
    case StorageType::kQ8_0:
      return split_q8_0;
    case StorageType::kQ4_0:
    case StorageType::kIQ4_NL:  // the same fields, another table
      return split_q4_0;
    case StorageType::kQ4_1:
      return split_q4_1;
    case StorageType::kQ5_0:
      return split_q5_0;
    case StorageType::kQ5_1:
      return split_q5_1;
    case StorageType::kQ2_K:
      return split_q2_k;
    case StorageType::kQ3_K:
      return split_q3_k;
    case StorageType::kQ4_K:
      return split_q4_k;
    case StorageType::kQ5_K:
      return split_q5_k;
    case StorageType::kQ6_K:
      return split_q6_k;
    case StorageType::kIQ4_XS:
      return split_iq4_xs;
    case StorageType::kMXFP4:
      return split_mxfp4;
    case StorageType::kF32:
    case StorageType::kF16:
    case StorageType::kBF16:
      break;
  }
  return nullptr;
}

}  // namespace

void split_stored_row(StorageType type, std::span<const std::byte> row, RowCodes& out) {
  const StorageSpec& spec = storage_spec(type);
  const SplitBlock split = split_function(type);
  assert(split != nullptr && out.encoding == spec.encoding);
  assert(row.size() == storage_row_bytes(type, out.n_cols));
  const auto n_blocks = static_cast<std::size_t>(out.n_cols) / spec.block_elements;
  auto block = reinterpret_cast<Bytes>(row.data());
  for (std::size_t i = 0; i < n_blocks; ++i, block += spec.block_bytes) split(block, {out, i});
}

}  // namespace cria
