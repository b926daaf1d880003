// Matrices in the layouts of other quantizers, made from known integers: test support. It shares no
// code with the readers: bits are set one by one, and read one by one, as the layouts are
// described.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace cria {

// What a quantizer came to: w[r][k] = (codes[r][k] - zeros[g][r]) * scales[g][r].
struct IntegerMatrix {
  int bits = 4;
  std::int64_t n_rows = 0;
  std::int64_t n_cols = 0;
  std::int64_t n_groups = 0;
  std::vector<int> codes;                     // [n_rows, n_cols]
  std::vector<int> zeros;                     // [n_groups, n_rows]
  std::vector<std::uint16_t> scales;          // [n_groups, n_rows] half-float bits
  std::vector<std::int32_t> group_of_column;  // [n_cols]

  float weight(std::int64_t row, std::int64_t column) const;
};

struct IntegerShape {
  int bits = 4;
  std::int64_t n_rows = 32;
  std::int64_t n_cols = 64;
  std::int64_t group_size = 32;  // -1: all columns
  bool symmetric = false;        // all zero points in the middle
};
// All codes and zero points occur, the extremes first. Scales have random mantissas and signs.
IntegerMatrix random_integer_matrix(const IntegerShape& shape, std::uint32_t seed);

// The bytes of the tensors.
struct GptqBytes {
  std::string qweight, qzeros, scales, g_idx;
};
GptqBytes gptq_bytes(const IntegerMatrix& matrix, bool zeros_less_one);
GptqBytes awq_bytes(const IntegerMatrix& matrix);  // no g_idx

// One weight out of the bytes, by the formula.
float gptq_weight(const GptqBytes& bytes, const IntegerMatrix& shape, bool zeros_less_one,
                  std::int64_t row, std::int64_t column);
float awq_weight(const GptqBytes& bytes, const IntegerMatrix& shape, std::int64_t row,
                 std::int64_t column);

// An EXL2 matrix. Packed column p has the code codes[r][p].
struct Exl2Matrix {
  std::int64_t n_rows = 0;
  std::int64_t n_cols = 0;
  std::vector<int> group_bits;                 // [n_groups]
  std::vector<std::int64_t> group_cols;        // [n_groups] columns of each, sum n_cols
  std::vector<int> codes;                      // [n_rows, n_cols]
  std::vector<int> scale_roots;                // [n_groups, n_rows] 0 to 15
  std::vector<std::uint16_t> largest;          // [n_groups] half-float bits
  std::vector<std::int32_t> packed_of_column;  // [n_cols]

  float weight(std::int64_t row, std::int64_t column) const;
};
// `group_cols` in multiples of 32. `permuted`: columns of all groups mixed.
Exl2Matrix random_exl2_matrix(std::int64_t n_rows, std::vector<int> group_bits,
                              std::vector<std::int64_t> group_cols, bool permuted,
                              std::uint32_t seed);

struct Exl2Bytes {
  std::string q_weight, q_scale, q_scale_max, q_groups, q_invperm_i16, q_invperm_i32;
  std::int64_t n_words = 0;   // rows of q_weight
  std::int64_t n_padded = 0;  // its columns
};
Exl2Bytes exl2_bytes(const Exl2Matrix& matrix);

}  // namespace cria
