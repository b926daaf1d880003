#include "tensor/packed_layouts_for_test.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>

#include "tensor/float16.h"

namespace cria {
namespace {

// Bit `bit` of little-endian word `word`.
void set_bit(std::string& bytes, std::int64_t word, int bit, bool on) {
  char& byte = bytes[static_cast<std::size_t>(4 * word + bit / 8)];
  if (on) byte = static_cast<char>(byte | 1 << (bit % 8));
}

int get_bit(const std::string& bytes, std::int64_t word, int bit) {
  return bytes[static_cast<std::size_t>(4 * word + bit / 8)] >> (bit % 8) & 1;
}

template <typename T>
std::string raw(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

// scale * integer, in double and then as a float, which holds it.
float product(std::uint16_t half, int integer) {
  return static_cast<float>(static_cast<double>(f16_to_f32(half)) * integer);
}

std::uint16_t random_half(std::mt19937& random, float largest) {
  const float magnitude = largest * static_cast<float>(1 + random() % 1000) / 1000;
  return f32_to_f16(random() % 4 == 0 ? -magnitude : magnitude);
}

std::uint16_t half_at(const std::string& bytes, std::int64_t index) {
  std::uint16_t half;
  std::memcpy(&half, bytes.data() + 2 * index, 2);
  return half;
}

constexpr int kAwqOrder[8] = {0, 2, 4, 6, 1, 3, 5, 7};  // nibble i of a word is row 8c + order[i]

// Bit 0 of the nibble of `row`.
int awq_bit(std::int64_t row) {
  for (int i = 0; i < 8; ++i) {
    if (kAwqOrder[i] == row % 8) return 4 * i;
  }
  return -1;
}

}  // namespace

float IntegerMatrix::weight(std::int64_t row, std::int64_t column) const {
  const std::int64_t at = group_of_column[column] * n_rows + row;
  return product(scales[at], codes[row * n_cols + column] - zeros[at]);
}

IntegerMatrix random_integer_matrix(const IntegerShape& shape, std::uint32_t seed) {
  std::mt19937 random(seed);
  const std::int64_t size = shape.group_size == -1 ? shape.n_cols : shape.group_size;
  const unsigned n_codes = 1U << shape.bits;
  IntegerMatrix matrix;
  matrix.bits = shape.bits;
  matrix.n_rows = shape.n_rows;
  matrix.n_cols = shape.n_cols;
  matrix.n_groups = (shape.n_cols + size - 1) / size;
  for (std::int64_t i = 0; i < shape.n_rows * shape.n_cols; ++i) {
    matrix.codes.push_back(i < 2 ? static_cast<int>(i) * static_cast<int>(n_codes - 1)
                                 : static_cast<int>(random() % n_codes));
  }
  for (std::int64_t i = 0; i < matrix.n_groups * shape.n_rows; ++i) {
    const int zero = i < 2 ? static_cast<int>(i) * static_cast<int>(n_codes - 1)
                           : static_cast<int>(random() % n_codes);
    matrix.zeros.push_back(shape.symmetric ? static_cast<int>(n_codes / 2) : zero);
    matrix.scales.push_back(random_half(random, 0.05F));
  }
  for (std::int64_t k = 0; k < shape.n_cols; ++k)
    matrix.group_of_column.push_back(static_cast<std::int32_t>(k / size));
  return matrix;
}

GptqBytes gptq_bytes(const IntegerMatrix& m, bool zeros_less_one) {
  GptqBytes bytes;
  bytes.qweight.resize(static_cast<std::size_t>(m.n_rows * m.n_cols * m.bits / 8));
  bytes.qzeros.resize(static_cast<std::size_t>(m.n_groups * m.n_rows * m.bits / 8));
  for (std::int64_t r = 0; r < m.n_rows; ++r) {
    for (std::int64_t k = 0; k < m.n_cols; ++k) {
      for (int i = 0; i < m.bits; ++i) {
        const std::int64_t bit = k * m.bits + i;
        set_bit(bytes.qweight, bit / 32 * m.n_rows + r, static_cast<int>(bit % 32),
                m.codes[r * m.n_cols + k] >> i & 1);
      }
    }
    for (std::int64_t g = 0; g < m.n_groups; ++g) {
      const int zero = m.zeros[g * m.n_rows + r];
      const int stored = !zeros_less_one ? zero : zero == 0 ? (1 << m.bits) - 1 : zero - 1;
      for (int i = 0; i < m.bits; ++i) {
        const std::int64_t bit = r * m.bits + i;
        set_bit(bytes.qzeros, g * (m.n_rows * m.bits / 32) + bit / 32, static_cast<int>(bit % 32),
                stored >> i & 1);
      }
    }
  }
  bytes.scales = raw(m.scales);
  bytes.g_idx = raw(m.group_of_column);
  return bytes;
}

GptqBytes awq_bytes(const IntegerMatrix& m) {
  GptqBytes bytes;
  bytes.qweight.resize(static_cast<std::size_t>(m.n_rows * m.n_cols / 2));
  bytes.qzeros.resize(static_cast<std::size_t>(m.n_groups * m.n_rows / 2));
  for (std::int64_t r = 0; r < m.n_rows; ++r) {
    for (int i = 0; i < 4; ++i) {
      for (std::int64_t k = 0; k < m.n_cols; ++k) {
        set_bit(bytes.qweight, k * (m.n_rows / 8) + r / 8, awq_bit(r) + i,
                m.codes[r * m.n_cols + k] >> i & 1);
      }
      for (std::int64_t g = 0; g < m.n_groups; ++g) {
        set_bit(bytes.qzeros, g * (m.n_rows / 8) + r / 8, awq_bit(r) + i,
                m.zeros[g * m.n_rows + r] >> i & 1);
      }
    }
  }
  bytes.scales = raw(m.scales);
  return bytes;
}

float gptq_weight(const GptqBytes& bytes, const IntegerMatrix& shape, bool zeros_less_one,
                  std::int64_t row, std::int64_t column) {
  std::int32_t group;
  std::memcpy(&group, bytes.g_idx.data() + 4 * column, 4);
  int code = 0, zero = 0;
  for (int i = 0; i < shape.bits; ++i) {
    const std::int64_t code_bit = column * shape.bits + i;
    code +=
        get_bit(bytes.qweight, code_bit / 32 * shape.n_rows + row, static_cast<int>(code_bit % 32))
        << i;
    const std::int64_t zero_bit = row * shape.bits + i;
    zero += get_bit(bytes.qzeros, group * (shape.n_rows * shape.bits / 32) + zero_bit / 32,
                    static_cast<int>(zero_bit % 32))
            << i;
  }
  if (zeros_less_one) zero = (zero + 1) % (1 << shape.bits);
  return product(half_at(bytes.scales, group * shape.n_rows + row), code - zero);
}

float awq_weight(const GptqBytes& bytes, const IntegerMatrix& shape, std::int64_t row,
                 std::int64_t column) {
  const std::int64_t group = column / (shape.n_cols / shape.n_groups);
  int code = 0, zero = 0;
  for (int i = 0; i < 4; ++i) {
    code += get_bit(bytes.qweight, column * (shape.n_rows / 8) + row / 8, awq_bit(row) + i) << i;
    zero += get_bit(bytes.qzeros, group * (shape.n_rows / 8) + row / 8, awq_bit(row) + i) << i;
  }
  return product(half_at(bytes.scales, group * shape.n_rows + row), code - zero);
}

float Exl2Matrix::weight(std::int64_t row, std::int64_t column) const {
  const std::int64_t packed = packed_of_column[column];
  std::size_t group = 0;
  for (std::int64_t end = group_cols[0]; packed >= end; end += group_cols[++group]) {
  }
  const int root = scale_roots[group * static_cast<std::size_t>(n_rows) + row] + 1;
  const float unit = f16_to_f32(f32_to_f16(f16_to_f32(largest[group]) / 256));
  const std::uint16_t scale = f32_to_f16(static_cast<float>(root * root) * unit);
  return product(scale, codes[row * n_cols + packed] - (1 << (group_bits[group] - 1)));
}

Exl2Matrix random_exl2_matrix(std::int64_t n_rows, std::vector<int> group_bits,
                              std::vector<std::int64_t> group_cols, bool permuted,
                              std::uint32_t seed) {
  std::mt19937 random(seed);
  Exl2Matrix matrix;
  matrix.n_rows = n_rows;
  matrix.n_cols = std::accumulate(group_cols.begin(), group_cols.end(), std::int64_t{0});
  matrix.packed_of_column.resize(static_cast<std::size_t>(matrix.n_cols));
  std::iota(matrix.packed_of_column.begin(), matrix.packed_of_column.end(), 0);
  if (permuted)
    std::shuffle(matrix.packed_of_column.begin(), matrix.packed_of_column.end(), random);
  for (std::int64_t r = 0; r < n_rows; ++r) {
    for (std::size_t g = 0; g < group_bits.size(); ++g) {
      for (std::int64_t i = 0; i < group_cols[g]; ++i) {
        matrix.codes.push_back(static_cast<int>(random() % (1U << group_bits[g])));
      }
    }
  }
  for (std::size_t i = 0; i < group_bits.size() * static_cast<std::size_t>(n_rows); ++i) {
    matrix.scale_roots.push_back(static_cast<int>(i < 16 ? i : random() % 16));
  }
  for (std::size_t g = 0; g < group_bits.size(); ++g)
    matrix.largest.push_back(random_half(random, 2.0F));
  matrix.group_bits = std::move(group_bits);
  matrix.group_cols = std::move(group_cols);
  return matrix;
}

Exl2Bytes exl2_bytes(const Exl2Matrix& m) {
  Exl2Bytes bytes;
  bytes.n_padded = (m.n_rows + 31) / 32 * 32;
  std::vector<std::uint16_t> groups;
  for (std::size_t g = 0; g < m.group_bits.size(); ++g) {
    groups.push_back(static_cast<std::uint16_t>(m.group_bits[g]));
    groups.push_back(static_cast<std::uint16_t>(bytes.n_words));
    bytes.n_words += m.group_cols[g] * m.group_bits[g] / 32;
  }
  bytes.q_weight.resize(static_cast<std::size_t>(4 * bytes.n_words * bytes.n_padded));
  bytes.q_scale.resize(m.group_bits.size() * static_cast<std::size_t>(bytes.n_padded) / 2);
  for (std::int64_t r = 0; r < m.n_rows; ++r) {
    std::int64_t packed = 0;
    for (std::size_t g = 0; g < m.group_bits.size(); ++g) {
      for (std::int64_t i = 0; i < m.group_cols[g]; ++i, ++packed) {
        for (int b = 0; b < m.group_bits[g]; ++b) {
          const std::int64_t bit = i * m.group_bits[g] + b;
          set_bit(bytes.q_weight, (groups[2 * g + 1] + bit / 32) * bytes.n_padded + r,
                  static_cast<int>(bit % 32), m.codes[r * m.n_cols + packed] >> b & 1);
        }
      }
      for (int b = 0; b < 4; ++b) {
        set_bit(bytes.q_scale, static_cast<std::int64_t>(g) * (bytes.n_padded / 8) + r / 8,
                static_cast<int>(4 * (r % 8) + b),
                m.scale_roots[g * static_cast<std::size_t>(m.n_rows) + r] >> b & 1);
      }
    }
  }
  bytes.q_scale_max = raw(m.largest);
  bytes.q_groups = raw(groups);
  bytes.q_invperm_i32 = raw(m.packed_of_column);
  bytes.q_invperm_i16 =
      raw(std::vector<std::uint16_t>(m.packed_of_column.begin(), m.packed_of_column.end()));
  return bytes;
}

}  // namespace cria
