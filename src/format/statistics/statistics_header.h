// The head of a file of calibration statistics: bytes <-> struct. docs/statistics.md has the
// layout.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cria {

inline constexpr std::uint64_t kStatisticsMagic = 0x5441545341495243;  // "CRIASTAT"
inline constexpr std::uint32_t kStatisticsVersion = 1;

// What tells one model from another.
struct ModelFingerprint {
  std::int64_t n_layers = 0;
  std::int64_t hidden = 0;
  std::int64_t ffn = 0;
  std::int64_t n_heads = 0;
  std::int64_t n_kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t n_vocab = 0;
  // Of sampled weights: [n_layers + 1], each layer's, then that of what is in no layer.
  std::vector<std::uint64_t> weight_hashes;
  bool operator==(const ModelFingerprint&) const = default;
};

// What the model `found` has other than `expected`, for an error ("n_layers is 16, expected 28";
// "the weights of layer 3 differ"); empty when they are equal.
std::string describe_difference(const ModelFingerprint& found, const ModelFingerprint& expected);

// Windows [first, first + n) of a text that were seen.
struct TextRange {
  std::uint64_t text_hash = 0;  // of its token ids
  std::int64_t first_window = 0;
  std::int64_t n_windows = 0;
  auto operator<=>(const TextRange&) const = default;
};

struct StatisticsInput {
  std::string name;  // "blk.3.ffn_in" (input_names.h)
  std::int64_t n_cols = 0;
  std::uint64_t sums_checksum = 0;
  std::uint64_t hessian_checksum = 0;  // 0 without Hessian
  bool operator==(const StatisticsInput&) const = default;
};

struct StatisticsHeader {
  ModelFingerprint model;
  std::int64_t window_tokens = 0;  // tokens of each window
  bool has_hessian = false;
  std::vector<TextRange> texts;  // sorted, not empty, neither overlapping nor touching
  std::vector<StatisticsInput> inputs;

  std::int64_t n_windows() const;
  std::int64_t n_tokens() const { return n_windows() * window_tokens; }
};

// Where the parts of a file are. Of each input: FixedSum squares[n_cols], then absolutes[n_cols];
// the upper triangle of its Hessian, row after row, row i from column i on, int64.
struct StatisticsLayout {
  std::uint64_t header_bytes = 0;
  std::vector<std::uint64_t> sums;       // [inputs], offsets, multiples of 64
  std::vector<std::uint64_t> triangles;  // [inputs], offsets, multiples of 4096; empty without
  std::uint64_t file_bytes = 0;
};

std::uint64_t sums_bytes(std::int64_t n_cols);
std::uint64_t triangle_bytes(std::int64_t n_cols);
// Where row `row` begins in a triangle, in elements.
constexpr std::int64_t triangle_row(std::int64_t n_cols, std::int64_t row) {
  return row * n_cols - row * (row - 1) / 2;
}
StatisticsLayout layout_of(const StatisticsHeader& header);

// REQUIRES: check_statistics_header(header).
std::vector<std::byte> encode_statistics_header(const StatisticsHeader& header);

// Checks all sizes and that the file has the bytes that they need; touches no sums. `what` names
// the file in errors. kBadInput, kUnsupported (another version).
Result<StatisticsHeader> decode_statistics_header(std::span<const std::byte> bytes,
                                                  std::string_view what);
// The same without the number of bytes: for the beginning of a file.
Result<StatisticsHeader> decode_statistics_head(std::span<const std::byte> bytes,
                                                std::string_view what);
Status check_statistics_header(const StatisticsHeader& header, std::string_view what);

// Sorts ranges and joins those that touch. kBadInput names a window that is in two of them.
Result<std::vector<TextRange>> join_ranges(std::vector<TextRange> ranges);

// A 64-bit checksum of data that comes in pieces, each a multiple of 8 bytes.
class WordChecksum {
 public:
  void add(std::span<const std::byte> bytes);
  std::uint64_t value() const { return value_; }

 private:
  std::uint64_t value_ = 0xcbf29ce484222325;
};

}  // namespace cria
