#include "tensor/storage_type.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "tensor/float16.h"

namespace cria {
namespace {

constexpr int kStorageTypeCount = 16;

std::vector<StorageType> all_types() {
  std::vector<StorageType> types;
  for (int i = 0; i < kStorageTypeCount; ++i) types.push_back(static_cast<StorageType>(i));
  return types;
}

bool is_block_type(StorageType type) { return storage_spec(type).block_elements > 1; }

// Offsets of the half floats in a block, to keep them finite.
std::vector<int> half_offsets(StorageType type) {
  switch (type) {
    case StorageType::kQ4_1:
    case StorageType::kQ5_1:
    case StorageType::kQ4_K:
    case StorageType::kQ5_K:
      return {0, 2};
    case StorageType::kQ2_K:
      return {80, 82};
    case StorageType::kQ3_K:
      return {108};
    case StorageType::kQ6_K:
      return {208};
    case StorageType::kMXFP4:
      return {};
    default:
      return {0};
  }
}

std::vector<std::byte> random_blocks(StorageType type, int n_blocks, std::mt19937& random) {
  const StorageSpec& spec = storage_spec(type);
  std::vector<std::byte> bytes(static_cast<std::size_t>(n_blocks) * spec.block_bytes);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  for (int b = 0; b < n_blocks; ++b) {
    for (int offset : half_offsets(type)) {
      bytes[b * spec.block_bytes + offset + 1] &= std::byte{0xbf};  // exponent below 16: finite
    }
  }
  return bytes;
}

class Storage : public testing::TestWithParam<StorageType> {};

TEST_P(Storage, SplitThenDecodeEqualsDecode) {
  if (!is_block_type(GetParam())) {
    EXPECT_TRUE(encoding_spec(storage_spec(GetParam()).encoding).dense());
    return;
  }
  std::mt19937 random(7);
  const StorageSpec& spec = storage_spec(GetParam());
  for (int n_blocks : {1, 2, 37}) {
    const auto bytes = random_blocks(GetParam(), n_blocks, random);
    const std::int64_t n_cols = std::int64_t{n_blocks} * spec.block_elements;
    ASSERT_EQ(storage_row_bytes(GetParam(), n_cols), bytes.size());
    std::vector<float> expected(n_cols), decoded(n_cols);
    decode_stored_row(GetParam(), bytes, expected);
    RowCodes row(spec.encoding, n_cols);
    split_stored_row(GetParam(), bytes, row);
    decode_codes(row, decoded);
    for (std::int64_t k = 0; k < n_cols; ++k) {
      ASSERT_TRUE(std::isfinite(expected[k]));
      ASSERT_EQ(decoded[k], expected[k]) << k;
    }
  }
}

// Every bit of a block matters: a reader that looks at the wrong place is found out. In one block a
// bit may be hidden (a zero scale, the sign of MXFP4's zero), in all of 16 random blocks it is not.
TEST_P(Storage, EveryBitChangesSomething) {
  std::mt19937 random(8);
  const StorageSpec& spec = storage_spec(GetParam());
  std::vector<bool> seen(8 * static_cast<std::size_t>(spec.block_bytes));
  std::vector<float> before(spec.block_elements), after(spec.block_elements);
  for (int i = 0; i < 16; ++i) {
    const auto bytes = random_blocks(GetParam(), 1, random);
    decode_stored_row(GetParam(), bytes, before);
    for (std::size_t bit = 0; bit < seen.size(); ++bit) {
      auto flipped = bytes;
      flipped[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
      decode_stored_row(GetParam(), flipped, after);
      if (std::memcmp(before.data(), after.data(), 4 * before.size()) != 0) seen[bit] = true;
    }
  }
  for (std::size_t bit = 0; bit < seen.size(); ++bit) EXPECT_TRUE(seen[bit]) << "bit " << bit;
}

INSTANTIATE_TEST_SUITE_P(All, Storage, testing::ValuesIn(all_types()),
                         [](const testing::TestParamInfo<StorageType>& info) {
                           return storage_spec(info.param).name;
                         });

std::vector<std::byte> bytes_of(std::initializer_list<int> values, std::size_t size) {
  std::vector<std::byte> bytes;
  for (int value : values) bytes.push_back(static_cast<std::byte>(value));
  bytes.resize(size);
  return bytes;
}

std::vector<float> decode(StorageType type, const std::vector<std::byte>& bytes) {
  std::vector<float> out(storage_spec(type).block_elements);
  decode_stored_row(type, bytes, out);
  return out;
}

TEST(StorageByHand, SmallBlocks) {
  // d = 2 (0x4000), first byte 0x3a: element 0 = 10, element 16 = 3; the others are 0.
  const auto q4_0 = decode(StorageType::kQ4_0, bytes_of({0x00, 0x40, 0x3a}, 18));
  EXPECT_EQ(q4_0[0], 4.0f);
  EXPECT_EQ(q4_0[16], -10.0f);
  EXPECT_EQ(q4_0[31], -16.0f);
  const auto q4_1 = decode(StorageType::kQ4_1, bytes_of({0x00, 0x40, 0x00, 0xbc, 0x3a}, 20));
  EXPECT_EQ(q4_1[0], 19.0f);
  EXPECT_EQ(q4_1[16], 5.0f);
  const auto q5_0 = decode(StorageType::kQ5_0, bytes_of({0x00, 0x40, 0x01, 0, 0x02, 0, 0x3a}, 22));
  EXPECT_EQ(q5_0[0], 20.0f);
  EXPECT_EQ(q5_0[16], -26.0f);
  EXPECT_EQ(q5_0[17], 0.0f);
  const auto q8_0 = decode(StorageType::kQ8_0, bytes_of({0x00, 0x40, 0x80, 0x7f}, 34));
  EXPECT_EQ(q8_0[0], -256.0f);
  EXPECT_EQ(q8_0[1], 254.0f);
  const auto iq4_nl = decode(StorageType::kIQ4_NL, bytes_of({0x00, 0x40, 0xf0}, 18));
  EXPECT_EQ(iq4_nl[0], -254.0f);
  EXPECT_EQ(iq4_nl[16], 226.0f);
  const auto mxfp4 = decode(StorageType::kMXFP4, bytes_of({129, 0x9f}, 17));
  EXPECT_EQ(mxfp4[0], -24.0f);
  EXPECT_EQ(mxfp4[16], -2.0f);
}

TEST(StorageByHand, MxfpExponentHasNoSpecialValue) {
  EXPECT_EQ(decode(StorageType::kMXFP4, bytes_of({255, 0x01}, 17))[0], 0x1p127f);
  EXPECT_EQ(decode(StorageType::kMXFP4, bytes_of({0, 0x01}, 17))[0], 0x1p-128f);
}

TEST(StorageByHand, SuperBlocks) {
  // Q6_K: ql[0] = 0x21, qh[0] = 0b11100100, scales 1, -1, 1, ... d = 1.
  auto q6 = bytes_of({0x21}, 210);
  q6[128] = std::byte{0xe4};
  for (int i = 0; i < 16; ++i) q6[192 + i] = i % 2 == 0 ? std::byte{1} : std::byte{0xff};
  q6[209] = std::byte{0x3c};
  const auto w6 = decode(StorageType::kQ6_K, q6);
  EXPECT_EQ(w6[0], 1.0f + 0 - 32);
  EXPECT_EQ(w6[32], 0.0f + 16 - 32);
  EXPECT_EQ(w6[64], 2.0f + 32 - 32);
  EXPECT_EQ(w6[96], 0.0f + 48 - 32);
  EXPECT_EQ(w6[16], 32.0f);  // the second scale is -1
  // Q4_K: d = 1, dmin = 0.5; sub-block 5: scale 2 + 16 * 3, min 1 + 16 * 2.
  auto q4 = bytes_of({0x00, 0x3c, 0x00, 0x38}, 144);
  q4[4 + 1] = std::byte{0xc0};    // high bits of scale 5
  q4[4 + 5] = std::byte{0x80};    // high bits of min 5
  q4[4 + 9] = std::byte{0x12};    // low bits: scale 2, min 1
  q4[16 + 64] = std::byte{0x70};  // chunk 2, high nibble: element 160
  const auto w4 = decode(StorageType::kQ4_K, q4);
  EXPECT_EQ(w4[160], 50.0f * 7 - 0.5f * 33);
  EXPECT_EQ(w4[161], -0.5f * 33);
  EXPECT_EQ(w4[128], 0.0f);
}

TEST(StorageByHand, PlainFloats) {
  EXPECT_EQ(decode(StorageType::kF32, bytes_of({0, 0, 0x80, 0x3f}, 4))[0], 1.0f);
  EXPECT_EQ(decode(StorageType::kF16, bytes_of({0, 0xc0}, 2))[0], -2.0f);
  EXPECT_EQ(decode(StorageType::kBF16, bytes_of({0x40, 0xc0}, 2))[0], -3.0f);
}

}  // namespace
}  // namespace cria
