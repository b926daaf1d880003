#include "tokenizer/packed_table.h"

#include <algorithm>
#include <bit>
#include <cassert>

namespace cria {

namespace {

std::uint64_t home_of(std::uint64_t hash, std::uint32_t n_homes) {
  return packed_position(hash, n_homes, 0).home;
}

// REQUIRES: the bits are zero and 8 bytes lie from bit / 8 on.
void set_bits(std::byte* data, std::uint64_t bit, std::uint64_t value) {
  std::uint64_t word;
  std::memcpy(&word, data + bit / 8, sizeof(word));
  word |= value << (bit % 8);
  std::memcpy(data + bit / 8, &word, sizeof(word));
}

// The indices of entries, those of the lowest home first.
std::vector<std::uint32_t> order_by_home(std::span<const PackedEntry> entries,
                                         std::uint32_t n_homes) {
  std::vector<std::uint32_t> begin(std::size_t{n_homes} + 1);
  for (const PackedEntry& entry : entries) ++begin[home_of(entry.hash, n_homes) + 1];
  for (std::size_t home = 0; home < n_homes; ++home) begin[home + 1] += begin[home];
  std::vector<std::uint32_t> order(entries.size());
  for (std::size_t i = 0; i < entries.size(); ++i) {
    order[begin[home_of(entries[i].hash, n_homes)]++] = static_cast<std::uint32_t>(i);
  }
  return order;
}

struct PlacedEntry {
  std::uint32_t index;
  std::uint32_t place;
};

// Entries in the order of their slots; empty when one lies too far.
std::optional<std::vector<PlacedEntry>> place_entries(
    std::span<const PackedEntry> entries, std::uint32_t n_homes,
    const std::function<bool(std::uint64_t, std::uint64_t)>& same) {
  std::vector<PlacedEntry> placed;
  placed.reserve(entries.size());
  std::uint64_t free_slot = 0, last_home = 0;
  std::size_t first_of_home = 0;
  for (const std::uint32_t index : order_by_home(entries, n_homes)) {
    const PackedEntry& entry = entries[index];
    const std::uint64_t home = home_of(entry.hash, n_homes);
    if (home != last_home) first_of_home = placed.size();
    last_home = home;
    const bool is_known = std::any_of(placed.begin() + static_cast<std::ptrdiff_t>(first_of_home),
                                      placed.end(), [&](const PlacedEntry& other) {
                                        return entries[other.index].hash == entry.hash &&
                                               same(entries[other.index].value, entry.value);
                                      });
    if (is_known) continue;
    const std::uint64_t slot = std::max(free_slot, home);
    if (slot - home >= low_bits(kMaxPlaceBits)) return std::nullopt;
    placed.push_back({index, static_cast<std::uint32_t>(slot - home + 1)});
    free_slot = slot + 1;
  }
  return placed;
}

}  // namespace

std::vector<std::byte> pack_array(std::span<const std::uint64_t> values, std::uint32_t width) {
  std::vector<std::byte> bytes(packed_size_bytes(values.size(), width));
  for (std::size_t i = 0; i < values.size(); ++i) {
    assert(values[i] <= low_bits(width));
    set_bits(bytes.data(), i * width, values[i]);
  }
  return bytes;
}

bool PackedShape::fits(std::uint64_t size_bytes) const {
  return n_homes >= 1 && place_bits >= 1 && place_bits <= kMaxPlaceBits &&
         place_bits + check_bits <= static_cast<int>(kMaxPackedBits) &&
         value_bits <= kMaxPackedBits && zero == 0 &&
         size_bytes == packed_size_bytes(n_slots(), slot_bits());
}

std::uint32_t homes_for(std::size_t n_entries) {
  return static_cast<std::uint32_t>(n_entries + n_entries / 3 + 1);
}

std::optional<PackedTableBytes> pack_table(
    std::span<const PackedEntry> entries, PackedShape shape,
    const std::function<bool(std::uint64_t, std::uint64_t)>& same) {
  const auto placed = place_entries(entries, shape.n_homes, same);
  if (!placed) return std::nullopt;
  std::uint32_t last_place = 1;
  for (const PlacedEntry& entry : *placed) last_place = std::max(last_place, entry.place);
  shape.place_bits = static_cast<std::uint8_t>(std::bit_width(last_place));
  PackedTableBytes result{shape, {}};
  result.bytes.resize(packed_size_bytes(shape.n_slots(), shape.slot_bits()));
  for (const PlacedEntry& entry : *placed) {
    const auto [hash, value] = entries[entry.index];
    assert(value <= low_bits(shape.value_bits));
    const auto [home, check] = packed_position(hash, shape.n_homes, shape.check_bits);
    const std::uint64_t bit = (home + entry.place - 1) * shape.slot_bits();
    set_bits(result.bytes.data(), bit, check << shape.place_bits | entry.place);
    set_bits(result.bytes.data(), bit + shape.place_bits + shape.check_bits, value);
  }
  return result;
}

}  // namespace cria
