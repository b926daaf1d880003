#include "tensor/exl2_rows.h"

#include <algorithm>
#include <utility>

#include "tensor/float16.h"
#include "tensor/grouped_rows.h"

namespace cria {
namespace {

constexpr int kWordBits = 32;
constexpr int kRowPadding = 32;
constexpr int kScalesAWord = 8;

// A run of packed columns.
struct Exl2Group {
  int bits = 0;
  std::int64_t first_word = 0;  // row of q_weight
  std::int64_t n_cols = 0;
};

class Exl2Rows : public GroupedRows {
 public:
  Exl2Rows(Exl2Tensors tensors, std::vector<Exl2Group> groups)
      : GroupedRows(exl2_facts(tensors, groups)),
        tensors_(std::move(tensors)),
        groups_(std::move(groups)) {}

 private:
  static Facts exl2_facts(const Exl2Tensors& tensors, const std::vector<Exl2Group>& groups) {
    Facts facts;
    std::vector<std::int32_t> group_of_packed;
    int fewest = 8;
    for (std::size_t g = 0; g < groups.size(); ++g) {
      facts.bits = std::max(facts.bits, groups[g].bits);
      fewest = std::min(fewest, groups[g].bits);
      group_of_packed.insert(group_of_packed.end(), static_cast<std::size_t>(groups[g].n_cols),
                             static_cast<std::int32_t>(g));
    }
    for (const std::int32_t packed : tensors.packed_of_column) {
      facts.group_of_column.push_back(group_of_packed[packed]);
    }
    facts.n_groups = static_cast<std::int32_t>(groups.size());
    facts.smallest_value = -(1 << (facts.bits - 1));
    facts.largest_value = -facts.smallest_value - 1;
    // Like the other layouts by one name for all tensors of a file: their bits differ.
    facts.description = "EXL2";
    facts.stored_bytes = tensors.codes.bytes.size() + tensors.scales.bytes.size() +
                         tensors.largest_scales.bytes.size() + tensors.groups.bytes.size() +
                         tensors.packed_of_column.size() * sizeof(std::int32_t);
    return facts;
  }

  void read_values(std::int64_t row, std::span<std::int16_t> out) const override {
    std::vector<std::int16_t> packed(out.size());
    std::size_t p = 0;
    for (const Exl2Group& group : groups_) {
      std::uint64_t window = 0;
      int n_bits = 0;
      std::int64_t next_word = group.first_word;
      const int zero = 1 << (group.bits - 1);
      const std::uint64_t mask = (1U << group.bits) - 1;
      for (std::int64_t i = 0; i < group.n_cols; ++i) {
        if (n_bits < group.bits) {
          window |= static_cast<std::uint64_t>(tensors_.codes.at(next_word++, row)) << n_bits;
          n_bits += kWordBits;
        }
        packed[p++] = static_cast<std::int16_t>(static_cast<int>(window & mask) - zero);
        window >>= group.bits;
        n_bits -= group.bits;
      }
    }
    for (std::size_t k = 0; k < out.size(); ++k) out[k] = packed[tensors_.packed_of_column[k]];
  }

  std::uint16_t scale(std::int64_t row, std::int32_t group) const override {
    const std::uint32_t word = tensors_.scales.at(group, row / kScalesAWord);
    const auto root = static_cast<float>((word >> (4 * (row % kScalesAWord)) & 0xf) + 1);
    const float largest = f16_to_f32(tensors_.largest_scales.at(0, group));
    return f32_to_f16(root * root * f16_to_f32(f32_to_f16(largest / 256)));
  }

  Exl2Tensors tensors_;
  std::vector<Exl2Group> groups_;
};

bool is_width(int bits) { return (bits >= 2 && bits <= 6) || bits == 8; }

Result<std::vector<Exl2Group>> read_groups(const Exl2Tensors& tensors, std::int64_t n_cols) {
  const std::int64_t n_groups = tensors.groups.n_cols / 2;
  if (n_groups < 1 || tensors.groups.n_cols % 2 != 0) {
    return bad_input("q_groups has {} numbers, expected pairs of bits and first row",
                     tensors.groups.n_cols);
  }
  std::vector<Exl2Group> groups;
  std::int64_t n_found = 0;
  for (std::int64_t g = 0; g < n_groups; ++g) {
    Exl2Group group;
    group.bits = tensors.groups.at(0, 2 * g);
    group.first_word = tensors.groups.at(0, 2 * g + 1);
    const std::int64_t end =
        g + 1 < n_groups ? std::int64_t{tensors.groups.at(0, 2 * g + 3)} : tensors.codes.n_rows;
    if (!is_width(group.bits)) {
      return bad_input("q_groups gives group {} {} bits, expected 2, 3, 4, 5, 6 or 8", g,
                       group.bits);
    }
    if ((g == 0 && group.first_word != 0) || end <= group.first_word ||
        end > tensors.codes.n_rows || (end - group.first_word) * kWordBits % group.bits != 0) {
      return bad_input(
          "q_groups gives group {} rows {} to {} of {} of q_weight, expected whole codes of {} "
          "bits, in order",
          g, group.first_word, end, tensors.codes.n_rows, group.bits);
    }
    group.n_cols = (end - group.first_word) * kWordBits / group.bits;
    n_found += group.n_cols;
    groups.push_back(group);
  }
  if (n_found == n_cols) return groups;
  return bad_input("q_groups covers {} columns, expected {}", n_found, n_cols);
}

Status check_permutation(std::span<const std::int32_t> packed_of_column, std::int64_t n_cols) {
  if (static_cast<std::int64_t>(packed_of_column.size()) != n_cols) {
    return bad_input("q_invperm has {} numbers, expected {}", packed_of_column.size(), n_cols);
  }
  std::vector<bool> seen(packed_of_column.size());
  for (std::size_t k = 0; k < packed_of_column.size(); ++k) {
    const std::int32_t packed = packed_of_column[k];
    if (packed < 0 || packed >= n_cols || seen[packed]) {
      return bad_input("q_invperm has {} for column {}, expected each of 0 to {} once", packed, k,
                       n_cols - 1);
    }
    seen[packed] = true;
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<const RowSource>> open_exl2_rows(Exl2Tensors tensors, std::int64_t n_rows,
                                                        std::int64_t n_cols) {
  const std::int64_t padded = (n_rows + kRowPadding - 1) / kRowPadding * kRowPadding;
  CRIA_RETURN_IF_ERROR(check_permutation(tensors.packed_of_column, n_cols));
  CRIA_RETURN_IF_ERROR(check_shape("q_weight", tensors.codes, tensors.codes.n_rows, padded));
  CRIA_ASSIGN_OR_RETURN(std::vector<Exl2Group> groups, read_groups(tensors, n_cols));
  const auto n_groups = static_cast<std::int64_t>(groups.size());
  CRIA_RETURN_IF_ERROR(check_shape("q_scale", tensors.scales, n_groups, padded / kScalesAWord));
  CRIA_RETURN_IF_ERROR(check_shape("q_scale_max", tensors.largest_scales, 1, n_groups));
  return std::shared_ptr<const RowSource>(
      std::make_shared<Exl2Rows>(std::move(tensors), std::move(groups)));
}

}  // namespace cria
