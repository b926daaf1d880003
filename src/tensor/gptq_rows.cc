#include "tensor/gptq_rows.h"

#include <algorithm>
#include <utility>

#include "tensor/grouped_rows.h"

namespace cria {
namespace {

constexpr int kWordBits = 32;
constexpr int kAwqRowsAWord = 8;
constexpr int kAwqBits = 4;

// Columns a group, of which the last may have fewer. kBadInput for sizes that are no size.
Result<std::int64_t> columns_a_group(std::int64_t group_size, std::int64_t n_cols) {
  if (group_size == -1) return n_cols;
  if (group_size < 1)
    return bad_input("group_size is {}, expected -1 or a positive number", group_size);
  return std::min(group_size, n_cols);
}

std::vector<std::int32_t> groups_in_order(std::int64_t n_cols, std::int64_t size) {
  std::vector<std::int32_t> groups(static_cast<std::size_t>(n_cols));
  for (std::int64_t k = 0; k < n_cols; ++k) groups[k] = static_cast<std::int32_t>(k / size);
  return groups;
}

// Both layouts, once their zero points can be read.
class ZeroPointRows : public GroupedRows {
 public:
  // The zero points, which say what the codes stand for.
  struct ZeroRange {
    int smallest = 255;
    int largest = 0;
    void add(int zero) {
      smallest = std::min(smallest, zero);
      largest = std::max(largest, zero);
    }
  };

 protected:
  ZeroPointRows(Facts facts, const Elements<std::uint16_t>& scales)
      : GroupedRows(std::move(facts)), scales_(scales) {}

  static Facts facts(int bits, const ZeroRange& zeros, std::vector<std::int32_t> group_of_column,
                     std::int32_t n_groups) {
    Facts facts;
    facts.bits = bits;
    facts.smallest_value = -zeros.largest;
    facts.largest_value = (1 << bits) - 1 - zeros.smallest;
    facts.group_of_column = std::move(group_of_column);
    facts.n_groups = n_groups;
    return facts;
  }

  std::uint16_t scale(std::int64_t row, std::int32_t group) const override {
    return scales_.at(group, row);
  }

 private:
  Elements<std::uint16_t> scales_;
};

// Value `index` of a stream of `bits`-bit values, lowest bit first; word(i) is its i-th word.
template <typename Word>
int stream_value(std::int64_t index, int bits, const Word& word) {
  const std::int64_t bit = index * bits;
  const auto shift = static_cast<int>(bit % kWordBits);
  std::uint64_t window = word(bit / kWordBits);
  if (shift + bits > kWordBits)
    window |= static_cast<std::uint64_t>(word(bit / kWordBits + 1)) << kWordBits;
  return static_cast<int>(window >> shift & ((1U << bits) - 1));
}

int gptq_zero(const GptqTensors& tensors, std::int64_t group, std::int64_t row) {
  const int stored = stream_value(row, tensors.bits,
                                  [&](std::int64_t word) { return tensors.zeros.at(group, word); });
  return tensors.zeros_less_one ? (stored + 1) & ((1 << tensors.bits) - 1) : stored;
}

class GptqRows : public ZeroPointRows {
 public:
  GptqRows(const GptqTensors& tensors, std::vector<std::int32_t> group_of_column,
           const ZeroRange& zeros)
      : ZeroPointRows(gptq_facts(tensors, std::move(group_of_column), zeros), tensors.scales),
        tensors_(tensors) {}

 private:
  static Facts gptq_facts(const GptqTensors& tensors, std::vector<std::int32_t> group_of_column,
                          const ZeroRange& zeros) {
    Facts result = facts(tensors.bits, zeros, std::move(group_of_column),
                         static_cast<std::int32_t>(tensors.scales.n_rows));
    result.description = fmt::format("GPTQ {} bits", tensors.bits);
    result.stored_bytes = tensors.codes.bytes.size() + tensors.zeros.bytes.size() +
                          tensors.scales.bytes.size() +
                          (tensors.g_idx ? tensors.g_idx->bytes.size() : 0);
    return result;
  }

  void read_values(std::int64_t row, std::span<std::int16_t> out) const override {
    std::vector<int> zeros(static_cast<std::size_t>(n_groups()));
    for (std::int32_t g = 0; g < n_groups(); ++g) zeros[g] = gptq_zero(tensors_, g, row);
    // The stream once through; a value may begin in one word and end in the next.
    std::uint64_t window = 0;
    int n_bits = 0;
    std::int64_t next_word = 0;
    const std::uint64_t mask = (1U << tensors_.bits) - 1;
    for (std::int64_t k = 0; k < n_cols(); ++k) {
      if (n_bits < tensors_.bits) {
        window |= static_cast<std::uint64_t>(tensors_.codes.at(next_word++, row)) << n_bits;
        n_bits += kWordBits;
      }
      out[k] = static_cast<std::int16_t>(static_cast<int>(window & mask) - zeros[group_of(k)]);
      window >>= tensors_.bits;
      n_bits -= tensors_.bits;
    }
  }

  GptqTensors tensors_;
};

// Where row 8c + i lies in a word.
int awq_shift(std::int64_t row) {
  constexpr int kPosition[kAwqRowsAWord] = {0, 4, 1, 5, 2, 6, 3, 7};
  return kAwqBits * kPosition[row % kAwqRowsAWord];
}

int awq_nibble(const Elements<std::uint32_t>& words, std::int64_t line, std::int64_t row) {
  return static_cast<int>(words.at(line, row / kAwqRowsAWord) >> awq_shift(row) & 0xf);
}

class AwqRows : public ZeroPointRows {
 public:
  AwqRows(const AwqTensors& tensors, std::vector<std::int32_t> group_of_column,
          const ZeroRange& zeros)
      : ZeroPointRows(awq_facts(tensors, std::move(group_of_column), zeros), tensors.scales),
        tensors_(tensors) {}

 private:
  static Facts awq_facts(const AwqTensors& tensors, std::vector<std::int32_t> group_of_column,
                         const ZeroRange& zeros) {
    Facts result = facts(kAwqBits, zeros, std::move(group_of_column),
                         static_cast<std::int32_t>(tensors.scales.n_rows));
    result.description = "AWQ 4 bits";
    result.stored_bytes =
        tensors.codes.bytes.size() + tensors.zeros.bytes.size() + tensors.scales.bytes.size();
    return result;
  }

  void read_values(std::int64_t row, std::span<std::int16_t> out) const override {
    std::vector<int> zeros(static_cast<std::size_t>(n_groups()));
    for (std::int32_t g = 0; g < n_groups(); ++g) zeros[g] = awq_nibble(tensors_.zeros, g, row);
    for (std::int64_t k = 0; k < n_cols(); ++k) {
      out[k] = static_cast<std::int16_t>(awq_nibble(tensors_.codes, k, row) - zeros[group_of(k)]);
    }
  }

  AwqTensors tensors_;
};

Status check_gptq(const GptqTensors& tensors, std::int64_t n_rows, std::int64_t n_cols,
                  std::int64_t n_groups) {
  const int bits = tensors.bits;
  if (n_cols * bits % kWordBits != 0 || n_rows * bits % kWordBits != 0) {
    return bad_input("{} rows and {} columns of {} bits, expected whole words of {} bits", n_rows,
                     n_cols, bits, kWordBits);
  }
  CRIA_RETURN_IF_ERROR(check_shape("qweight", tensors.codes, n_cols * bits / kWordBits, n_rows));
  CRIA_RETURN_IF_ERROR(check_shape("scales", tensors.scales, n_groups, n_rows));
  return check_shape("qzeros", tensors.zeros, n_groups, n_rows * bits / kWordBits);
}

Result<std::vector<std::int32_t>> listed_groups(const Elements<std::int32_t>& g_idx,
                                                std::int64_t n_cols, std::int64_t n_groups) {
  CRIA_RETURN_IF_ERROR(check_shape("g_idx", g_idx, 1, n_cols));
  std::vector<std::int32_t> groups(static_cast<std::size_t>(n_cols));
  for (std::int64_t k = 0; k < n_cols; ++k) {
    groups[k] = g_idx.at(0, k);
    if (groups[k] < 0 || groups[k] >= n_groups) {
      return bad_input("g_idx has group {} for column {}, expected 0 to {}", groups[k], k,
                       n_groups - 1);
    }
  }
  return groups;
}

}  // namespace

Result<std::shared_ptr<const RowSource>> open_gptq_rows(const GptqTensors& tensors,
                                                        std::int64_t n_rows, std::int64_t n_cols) {
  if (tensors.bits != 2 && tensors.bits != 3 && tensors.bits != 4 && tensors.bits != 8) {
    return unsupported("codes of {} bits; only 2, 3, 4 and 8 are supported", tensors.bits);
  }
  CRIA_ASSIGN_OR_RETURN(const std::int64_t size, columns_a_group(tensors.group_size, n_cols));
  const std::int64_t n_groups = (n_cols + size - 1) / size;
  CRIA_RETURN_IF_ERROR(check_gptq(tensors, n_rows, n_cols, n_groups));
  std::vector<std::int32_t> groups = groups_in_order(n_cols, size);
  if (tensors.g_idx) {
    CRIA_ASSIGN_OR_RETURN(groups, listed_groups(*tensors.g_idx, n_cols, n_groups));
  }
  ZeroPointRows::ZeroRange zeros;
  for (std::int64_t g = 0; g < n_groups; ++g) {
    for (std::int64_t r = 0; r < n_rows; ++r) zeros.add(gptq_zero(tensors, g, r));
  }
  return std::shared_ptr<const RowSource>(
      std::make_shared<GptqRows>(tensors, std::move(groups), zeros));
}

Result<std::shared_ptr<const RowSource>> open_awq_rows(const AwqTensors& tensors,
                                                       std::int64_t n_rows, std::int64_t n_cols) {
  CRIA_ASSIGN_OR_RETURN(const std::int64_t size, columns_a_group(tensors.group_size, n_cols));
  if (n_rows % kAwqRowsAWord != 0 || n_cols % size != 0) {
    return bad_input("{} rows and {} columns, expected multiples of {} and of the group of {}",
                     n_rows, n_cols, kAwqRowsAWord, size);
  }
  const std::int64_t n_groups = n_cols / size;
  CRIA_RETURN_IF_ERROR(check_shape("qweight", tensors.codes, n_cols, n_rows / kAwqRowsAWord));
  CRIA_RETURN_IF_ERROR(check_shape("qzeros", tensors.zeros, n_groups, n_rows / kAwqRowsAWord));
  CRIA_RETURN_IF_ERROR(check_shape("scales", tensors.scales, n_groups, n_rows));
  ZeroPointRows::ZeroRange zeros;
  for (std::int64_t g = 0; g < n_groups; ++g) {
    for (std::int64_t r = 0; r < n_rows; ++r) zeros.add(awq_nibble(tensors.zeros, g, r));
  }
  return std::shared_ptr<const RowSource>(
      std::make_shared<AwqRows>(tensors, groups_in_order(n_cols, size), zeros));
}

}  // namespace cria
