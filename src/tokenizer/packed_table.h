// Arrays and hash tables whose elements take the bits that they need instead of whole bytes, read
// where they lie. Part of the format of tokenizer_blob.h.
//
// Bits count from the lowest bit of the first byte. The `width` bits (at most kMaxPackedBits) at
// bit b are the lowest ones of (the little-endian u64 at byte b / 8) >> (b % 8). So that the last
// bits can be read like all others, kPackedPadding zero bytes follow.
//
// A packed array of n elements has ceil(n * width / 8) + kPackedPadding bytes, element i at bit
// i * width.
//
// A packed table maps hashes of 64 bits to values. It has n_homes homes, where entries want to lie,
// and n_homes + 2^place_bits - 1 slots, so that those of the last home have room, too. It is a
// packed array of slots of place_bits + check_bits + value_bits; the fields of a slot, from the
// lowest bit:
//   place  0: the slot is empty; k: its entry lies k - 1 slots after its home
//   check  the upper check_bits of the lower half of hash * n_homes, a number of 128 bits
//   value
// The home of an entry is the upper half of hash * n_homes. Entries lie in the order of their
// homes, with no empty slot between an entry and its home: a search begins at the home and ends at
// the first slot whose place is lower than that of an entry which it seeks would be there.
//
// Home and check together tell any two hashes apart that differ in their upper k bits if
// check_bits >= k - floor(log2(n_homes)): 2^(64 - k) * n_homes lies between their products. A hash
// of k bits that can be turned back into its key then makes the table exact without keys in it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace cria {

inline constexpr std::uint32_t kMaxPackedBits = 57;  // any 57 bits lie within 8 bytes
inline constexpr std::size_t kPackedPadding = 7;
inline constexpr std::uint32_t kMaxPlaceBits = 9;

// Of a packed array.
constexpr std::uint64_t packed_size_bytes(std::uint64_t n_elements, std::uint32_t width) {
  return (n_elements * width + 7) / 8 + kPackedPadding;
}

// REQUIRES: width <= kMaxPackedBits.
constexpr std::uint64_t low_bits(std::uint32_t width) { return (std::uint64_t{1} << width) - 1; }

// What lies at bit `bit`, with the bits after it above: 57 of them at least.
inline std::uint64_t bits_from(const std::byte* data, std::uint64_t bit) {
  std::uint64_t word;
  std::memcpy(&word, data + bit / 8, sizeof(word));
  return word >> (bit % 8);
}

// A packed array. REQUIRES: every value has at most `width` bits.
std::vector<std::byte> pack_array(std::span<const std::uint64_t> values, std::uint32_t width);

struct PackedShape {
  std::uint32_t n_homes;  // at least 1
  std::uint8_t place_bits, check_bits, value_bits;
  std::uint8_t zero;

  std::uint32_t slot_bits() const { return std::uint32_t{place_bits} + check_bits + value_bits; }
  std::uint64_t n_slots() const { return n_homes + low_bits(place_bits); }
  // Whether the fields are within bounds and describe a table of `size_bytes`.
  bool fits(std::uint64_t size_bytes) const;
};
static_assert(sizeof(PackedShape) == 8);

// Where an entry wants to lie, and what tells it from others that want to lie there.
struct PackedPosition {
  std::uint64_t home, check;
};

// REQUIRES: check_bits < 64.
inline PackedPosition packed_position(std::uint64_t hash, std::uint32_t n_homes,
                                      std::uint32_t check_bits) {
  const auto product = static_cast<unsigned __int128>(hash) * n_homes;
  // In two steps, since a shift by 64 is undefined.
  return {static_cast<std::uint64_t>(product >> 64),
          static_cast<std::uint64_t>(product) >> 1 >> (63 - check_bits)};
}

// Reads a table. Cheap to copy; the bytes must outlive it. They may be damaged: then values are
// wrong, but no read lies outside and every search ends, after at most 2^place_bits - 1 slots.
// Thread-safety: immutable.
class PackedTable {
 public:
  static constexpr std::uint64_t kNone = ~std::uint64_t{0};  // is no value

  // REQUIRES: shape.fits(number of bytes at `data`).
  PackedTable(const std::byte* data, const PackedShape& shape)
      : data_(data),
        n_homes_(shape.n_homes),
        check_bits_(shape.check_bits),
        slot_bits_(shape.slot_bits()),
        key_bits_(std::uint32_t{shape.place_bits} + shape.check_bits),
        place_bits_(shape.place_bits),
        max_place_(low_bits(shape.place_bits)),
        key_mask_(low_bits(key_bits_)),
        value_mask_(low_bits(shape.value_bits)) {}

  // The first value under `hash` that `accept(value)` is true for, or kNone. Where home and check
  // do not decide, values of other hashes are offered, too.
  template <typename Accept>
  std::uint64_t find(std::uint64_t hash, const Accept& accept) const {
    const PackedPosition position = packed_position(hash, n_homes_, check_bits_);
    std::uint64_t bit = position.home * slot_bits_;
    std::uint64_t wanted = position.check << place_bits_;
    for (std::uint64_t place = 1; place <= max_place_; ++place, bit += slot_bits_) {
      const std::uint64_t key = bits_from(data_, bit) & key_mask_;
      if (key == ++wanted) {
        const std::uint64_t value = bits_from(data_, bit + key_bits_) & value_mask_;
        if (accept(value)) return value;
      } else if ((key & max_place_) < place) {
        break;
      }
    }
    return kNone;
  }

 private:
  const std::byte* data_;
  std::uint32_t n_homes_, check_bits_, slot_bits_, key_bits_, place_bits_;
  std::uint64_t max_place_, key_mask_, value_mask_;
};

struct PackedEntry {
  std::uint64_t hash, value;
};

struct PackedTableBytes {
  PackedShape shape;
  std::vector<std::byte> bytes;

  PackedTable table() const { return {bytes.data(), shape}; }
};

// Homes for so many entries that searches look at two or three slots. REQUIRES: fewer than 2^31.
std::uint32_t homes_for(std::size_t n_entries);

// Lays out a table of `shape`, whose place_bits are chosen here. Entries of a home keep their
// order. Of entries with the same hash for whose values `same` is true the first one stays.
// nullopt: an entry would lie too far from its home; another hash may do.
// REQUIRES: values of value_bits, fewer than 2^31 entries.
std::optional<PackedTableBytes> pack_table(
    std::span<const PackedEntry> entries, PackedShape shape,
    const std::function<bool(std::uint64_t, std::uint64_t)>& same);

}  // namespace cria
