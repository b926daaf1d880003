#include "tokenizer/packed_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <set>

#include "tokenizer/tokenizer_blob.h"

namespace cria {
namespace {

bool always(std::uint64_t) { return true; }
bool are_the_same(std::uint64_t, std::uint64_t) { return true; }
bool never_the_same(std::uint64_t, std::uint64_t) { return false; }

// The format's words, bit by bit.
std::uint64_t bits_by_the_bit(std::span<const std::byte> bytes, std::uint64_t bit,
                              std::uint32_t width) {
  std::uint64_t value = 0;
  for (std::uint32_t i = 0; i < width; ++i) {
    const auto byte = std::to_integer<std::uint64_t>(bytes[(bit + i) / 8]);
    value |= (byte >> ((bit + i) % 8) & 1) << i;
  }
  return value;
}

// The values under `hash`, by the header's description and without the order of entries: an entry
// is where its place says.
std::set<std::uint64_t> values_by_the_description(const PackedTableBytes& packed,
                                                  std::uint64_t hash) {
  const PackedShape& shape = packed.shape;
  const auto product = static_cast<unsigned __int128>(hash) * shape.n_homes;
  const auto home = static_cast<std::uint64_t>(product >> 64);
  std::set<std::uint64_t> values;
  for (std::uint64_t slot = home; slot < shape.n_slots(); ++slot) {
    const std::uint64_t bit = slot * shape.slot_bits();
    const std::uint64_t place = bits_by_the_bit(packed.bytes, bit, shape.place_bits);
    const std::uint64_t check =
        bits_by_the_bit(packed.bytes, bit + shape.place_bits, shape.check_bits);
    const auto fraction = static_cast<unsigned __int128>(static_cast<std::uint64_t>(product));
    if (place != slot - home + 1 || check != fraction >> (64 - shape.check_bits)) continue;
    values.insert(
        bits_by_the_bit(packed.bytes, bit + shape.place_bits + shape.check_bits, shape.value_bits));
  }
  return values;
}

TEST(PackedArray, GivesBackWhatWasPacked) {
  std::mt19937_64 random(1);
  for (std::uint32_t width = 1; width <= kMaxPackedBits; ++width) {
    std::vector<std::uint64_t> values(100);
    for (auto& value : values) value = random() & low_bits(width);
    values[50] = low_bits(width);
    const std::vector<std::byte> bytes = pack_array(values, width);
    ASSERT_EQ(bytes.size(), packed_size_bytes(values.size(), width));
    for (std::size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(bits_from(bytes.data(), i * width) & low_bits(width), values[i]) << width;
      ASSERT_EQ(bits_by_the_bit(bytes, i * width, width), values[i]) << width;
    }
  }
}

TEST(PackedTable, FindsEveryEntryAndNoOther) {
  std::mt19937_64 random(2);
  for (const std::size_t n : {0u, 1u, 2u, 5u, 100u, 3000u}) {
    const PackedShape shape{.n_homes = homes_for(n),
                            .check_bits = static_cast<std::uint8_t>(n == 5 ? 0 : 40),
                            .value_bits = static_cast<std::uint8_t>(n == 100 ? 57 : 13)};
    std::vector<PackedEntry> entries;
    for (std::size_t i = 0; i < n; ++i) {
      entries.push_back({random(), random() & low_bits(shape.value_bits)});
    }
    const auto packed = pack_table(entries, shape, are_the_same);
    ASSERT_TRUE(packed);
    ASSERT_TRUE(packed->shape.fits(packed->bytes.size()));
    const PackedTable table = packed->table();
    for (const auto& [hash, value] : entries) {
      const auto is_it = [wanted = value](std::uint64_t found) { return found == wanted; };
      ASSERT_EQ(table.find(hash, is_it), value);
      if (shape.check_bits != 0) {
        ASSERT_EQ(values_by_the_description(*packed, hash), std::set<std::uint64_t>{value});
      }
      ASSERT_EQ(table.find(hash, [](std::uint64_t) { return false; }), PackedTable::kNone);
    }
    for (int i = 0; i < 1000 && shape.check_bits != 0; ++i) {
      ASSERT_EQ(table.find(random(), always), PackedTable::kNone);
    }
  }
}

// Checks of as many bits as the header says tell all hashes of few bits apart, whatever the number
// of homes.
TEST(PackedTable, IsExactForHashesOfFewBits) {
  std::mt19937_64 random(3);
  for (const std::uint32_t w : {1u, 2u, 5u}) {
    for (std::uint32_t n_homes = 1; n_homes < 3000; n_homes += 1 + n_homes / 7) {
      const PairHash hash(w, static_cast<std::uint32_t>(random()));
      std::vector<PackedEntry> entries;
      std::map<std::uint64_t, std::uint64_t> values;
      const int n_ids = 1 << w;
      for (int i = 0; i < n_ids * n_ids; ++i) {
        if (random() % 3 == 0 || entries.size() >= n_homes) continue;
        const PackedEntry entry{hash(i / n_ids, i % n_ids), random() % 1000};
        ASSERT_TRUE(values.emplace(entry.hash, entry.value).second) << "two pairs share a hash";
        entries.push_back(entry);
      }
      const PackedShape shape{.n_homes = n_homes,
                              .check_bits = static_cast<std::uint8_t>(pair_check_bits(w, n_homes)),
                              .value_bits = 10};
      const auto packed = pack_table(entries, shape, never_the_same);
      ASSERT_TRUE(packed);
      for (int i = 0; i < n_ids * n_ids; ++i) {
        const std::uint64_t key = hash(i / n_ids, i % n_ids);
        const auto at = values.find(key);
        ASSERT_EQ(packed->table().find(key, always),
                  at == values.end() ? PackedTable::kNone : at->second)
            << w << " bits, " << n_homes << " homes";
      }
    }
  }
}

TEST(PackedTable, KeepsTheFirstOfTheSameAndAllOthers) {
  constexpr std::uint64_t kHash = 0x123456789abcdef0;
  const std::vector<PackedEntry> entries = {
      {kHash, 1}, {kHash, 11}, {kHash, 2}, {kHash, 22}, {kHash * 3, 3}};
  const auto packed =
      pack_table(entries, {.n_homes = homes_for(5), .check_bits = 50, .value_bits = 5},
                 [](std::uint64_t a, std::uint64_t b) { return a % 10 == b % 10; });
  ASSERT_TRUE(packed);
  std::vector<std::uint64_t> offered;
  packed->table().find(kHash, [&](std::uint64_t value) {
    offered.push_back(value);
    return false;
  });
  EXPECT_EQ(offered, (std::vector<std::uint64_t>{1, 2}));
}

TEST(PackedTable, RefusesACrowd) {
  std::vector<PackedEntry> entries(511, PackedEntry{12345, 1});
  const PackedShape shape{.n_homes = homes_for(2000), .check_bits = 8, .value_bits = 1};
  const auto packed = pack_table(entries, shape, never_the_same);
  ASSERT_TRUE(packed);
  EXPECT_EQ(packed->shape.place_bits, kMaxPlaceBits);
  int n_offered = 0;
  packed->table().find(12345, [&](std::uint64_t) { return ++n_offered == 511; });
  EXPECT_EQ(n_offered, 511);
  entries.push_back(entries[0]);
  EXPECT_FALSE(pack_table(entries, shape, never_the_same));
}

TEST(PackedTable, ItsShapeIsChecked) {
  const PackedShape good{.n_homes = 100, .place_bits = 4, .check_bits = 20, .value_bits = 9};
  const auto fits = [&](auto change) {
    PackedShape shape = good;
    change(shape);
    return shape.fits(packed_size_bytes(shape.n_slots(), shape.slot_bits()));
  };
  EXPECT_TRUE(fits([](PackedShape&) {}));
  EXPECT_FALSE(fits([](PackedShape& s) { s.n_homes = 0; }));
  EXPECT_FALSE(fits([](PackedShape& s) { s.place_bits = 0; }));
  EXPECT_FALSE(fits([](PackedShape& s) { s.place_bits = 10; }));
  EXPECT_FALSE(fits([](PackedShape& s) { s.check_bits = 54; }));
  EXPECT_FALSE(fits([](PackedShape& s) { s.value_bits = 58; }));
  EXPECT_FALSE(fits([](PackedShape& s) { s.zero = 1; }));
  const std::uint64_t size_bytes = packed_size_bytes(115, 33);
  EXPECT_TRUE(good.fits(size_bytes));
  EXPECT_FALSE(good.fits(size_bytes - 1));
  EXPECT_FALSE(good.fits(size_bytes + 1));
}

// Any bytes of the right size can be searched: the sanitizers see reads outside.
TEST(PackedTable, RandomBytesStayInBounds) {
  std::mt19937_64 random(4);
  for (int i = 0; i < 2000; ++i) {
    const PackedShape shape{.n_homes = 1 + static_cast<std::uint32_t>(random() % 30),
                            .place_bits = static_cast<std::uint8_t>(1 + random() % 9),
                            .check_bits = static_cast<std::uint8_t>(random() % 49),
                            .value_bits = static_cast<std::uint8_t>(random() % 58)};
    const std::size_t size_bytes = packed_size_bytes(shape.n_slots(), shape.slot_bits());
    ASSERT_TRUE(shape.fits(size_bytes));
    const auto bytes = std::make_unique<std::byte[]>(size_bytes);
    const bool full = i % 2 == 0;
    for (std::size_t j = 0; j < size_bytes; ++j) {
      bytes[j] = full ? std::byte{0xff} : static_cast<std::byte>(random());
    }
    const PackedTable table(bytes.get(), shape);
    for (int j = 0; j < 20; ++j) {
      const std::uint64_t hash = j == 0 ? ~std::uint64_t{0} : random();
      table.find(hash, [&](std::uint64_t value) {
        EXPECT_LE(value, low_bits(shape.value_bits));
        return false;
      });
    }
  }
}

}  // namespace
}  // namespace cria
