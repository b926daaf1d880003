// What the layouts of weight-only quantizers have in common: integers, and a half-float scale for
// each group of columns.
//
//   w[r][k] = scale[r][g(k)] * value[r][k]        value: the stored code minus its zero point
//
// A native encoding holds such a row exactly if the columns of each block are of one group and the
// values fit its signed codes: the scale of a group is written to each of its blocks, the value
// becomes the code. Of those the one with the widest blocks (a row, 128, 64, 32) is chosen. The
// product has 11 bits of the scale and at most 9 of the value, so the float is exact, too.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tensor/row_source.h"

namespace cria {

class GroupedRows : public RowSource {
 public:
  std::uint64_t stored_bytes() const override { return facts_.stored_bytes; }
  std::string description() const override { return facts_.description; }
  Encoding encoding() const override { return encoding_; }
  const std::string& why_inexact() const override { return why_inexact_; }
  void decode_row(std::int64_t row, std::span<float> out) const override;
  void split_row(std::int64_t row, RowCodes& out) const override;

 protected:
  struct Facts {
    std::vector<std::int32_t> group_of_column;  // [n_cols]
    std::int32_t n_groups = 0;
    int bits = 0;            // of the widest code
    int smallest_value = 0;  // that any code can stand for, zero points taken off
    int largest_value = 0;
    std::string description;
    std::uint64_t stored_bytes = 0;
  };

  // Chooses the encoding. REQUIRES: groups in range, 1 <= bits <= 8.
  explicit GroupedRows(Facts facts);

  // The values of a row; out.size() == n_cols.
  virtual void read_values(std::int64_t row, std::span<std::int16_t> out) const = 0;
  // The scale of a row in a group: half-float bits.
  virtual std::uint16_t scale(std::int64_t row, std::int32_t group) const = 0;

  std::int64_t n_cols() const { return static_cast<std::int64_t>(facts_.group_of_column.size()); }
  std::int32_t n_groups() const { return facts_.n_groups; }
  std::int32_t group_of(std::int64_t column) const { return facts_.group_of_column[column]; }

 private:
  bool blocks_have_one_group(int block) const;

  Facts facts_;
  Encoding encoding_ = Encoding::kQ8;
  std::string why_inexact_;
};

}  // namespace cria
