#include "tensor/e8p.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cmath>

#include "tensor/code_words.h"

namespace cria {
namespace {

constexpr int kWidth = kE8Width;
constexpr int kPatterns = 6561;  // 3^8 ways to choose 1/2, 3/2 or 5/2

// A vector |a| as eight digits of base 3: a = 1/2 + digit.
using Digits = std::array<int, kWidth>;

int pattern_of(const Digits& digits) {
  int pattern = 0;
  for (int i = kWidth; i-- > 0;) pattern = 3 * pattern + digits[i];
  return pattern;
}

int norm_of(const Digits& digits) {  // squared
  int quarters = 0;
  for (int digit : digits) quarters += (2 * digit + 1) * (2 * digit + 1);
  return quarters / 4;  // eight odd squares: 8 more than a multiple of 8
}

// Of the 56 vectors with five 3/2, those whose three positions of 1/2 have an even sum are 28,
// spread evenly over the coordinates; and one more.
bool is_listed(const Digits& digits) {
  int sum = 0, product = 1;
  for (int i = 0; i < kWidth; ++i) {
    if (digits[i] == 2) return false;
    if (digits[i] == 0) sum += i, product *= i + 1;
  }
  return sum % 2 == 0 || product == 1 * 2 * 3;
}

struct Tables {
  std::uint8_t vectors[256][kWidth] = {};
  std::int16_t number[kPatterns] = {};   // of the vector, or -1
  std::uint8_t listed[29][kWidth] = {};  // the vectors of squared norm 12, as digits
  std::uint8_t listed_number[29] = {};
  std::int8_t points[256][kWidth] = {};
  std::int16_t root_of_pair[2][2][kWidth][kWidth] = {};  // [minus i][minus j][i][j], i < j
};

void fill_vectors(Tables& t) {
  int n = 0, n_listed = 0;
  for (std::int16_t& number : t.number) number = -1;
  for (int odd = 0; odd < 2; ++odd) {
    for (int pattern = 0; pattern < kPatterns; ++pattern) {
      Digits digits = {};
      int sum = 0;
      for (int i = 0, rest = pattern; i < kWidth; ++i, rest /= 3) sum += digits[i] = rest % 3;
      const int norm = norm_of(digits);
      if (sum % 2 != odd || norm > 12 || (norm == 12 && !is_listed(digits))) continue;
      t.number[pattern] = static_cast<std::int16_t>(n);
      for (int i = 0; i < kWidth; ++i) {
        t.vectors[n][i] = static_cast<std::uint8_t>(2 + 4 * digits[i]);
        if (norm == 12) t.listed[n_listed][i] = static_cast<std::uint8_t>(digits[i]);
      }
      if (norm == 12) t.listed_number[n_listed++] = static_cast<std::uint8_t>(n);
      ++n;
    }
  }
}

// Integer roots 0..111, half-integer roots 112 + (seven signs), 2 e_i at 240 + i, -2 e_i at 248 + i
// but for the last, zero at 255.
void fill_points(Tables& t) {
  int n = 0;
  for (int i = 0; i < kWidth; ++i) {
    for (int j = i + 1; j < kWidth; ++j) {
      for (int signs = 0; signs < 4; ++signs, ++n) {
        t.points[n][i] = (signs & 1) != 0 ? -2 : 2;
        t.points[n][j] = (signs & 2) != 0 ? -2 : 2;
        t.root_of_pair[signs & 1][signs >> 1][i][j] = static_cast<std::int16_t>(n);
      }
    }
  }
  for (unsigned signs = 0; signs < 128; ++signs, ++n) {
    const unsigned all = signs | (static_cast<unsigned>(std::popcount(signs)) & 1) << 7;
    for (int i = 0; i < kWidth; ++i) t.points[n][i] = (all >> i & 1) != 0 ? -1 : 1;
  }
  for (int i = 0; i < 2 * kWidth - 1; ++i, ++n) t.points[n][i % kWidth] = i < kWidth ? 4 : -4;
}

Tables make_tables() {
  Tables t;
  fill_vectors(t);
  fill_points(t);
  return t;
}

const Tables& tables() {
  static const Tables t = make_tables();
  return t;
}

// What both searches look at: the magnitudes in falling order, where they come from, the signs.
struct Sorted {
  float magnitude[kWidth];
  int from[kWidth];
  unsigned minus = 0;  // bit i: x[i] < 0
  float sum = 0;

  explicit Sorted(const float* x) {
    for (int i = 0; i < kWidth; ++i) {
      const float size = std::fabs(x[i]);
      minus |= static_cast<unsigned>(x[i] < 0) << i;
      sum += size;
      int at = i;  // insertion keeps equal magnitudes in order
      for (; at > 0 && magnitude[at - 1] < size; --at) {
        magnitude[at] = magnitude[at - 1];
        from[at] = from[at - 1];
      }
      magnitude[at] = size;
      from[at] = i;
    }
  }
};

// A vector with signs, and 2 <y, v> - |v|^2, which is largest for the nearest.
struct Found {
  int number = 0;
  unsigned minus = 0;
  float score = 0;
};

// The kinds of vectors of which all permutations are there, by number of 5/2 and 3/2.
struct Kind {
  int fives, threes;
};
constexpr Kind kKinds[] = {{0, 0}, {0, 1}, {0, 2}, {0, 3}, {0, 4}, {1, 0}, {1, 1}};

// Vectors of norm 12 are not all there: each is tried, unless none of their kind could win.
void try_listed(const Sorted& y, Found& best) {
  const Tables& t = tables();
  float top = 0.5f * y.sum;
  for (int i = 0; i < 5; ++i) top += y.magnitude[i];
  const bool even = std::popcount(y.minus) % 2 == 0;  // five 3/2 want an odd number of minus signs
  const float flip = even ? y.magnitude[kWidth - 1] : 0.0f;
  if (2 * (top - flip) - 12 <= best.score) return;
  float size[kWidth];
  for (int i = 0; i < kWidth; ++i) size[y.from[i]] = y.magnitude[i];
  for (int n = 0; n < 29; ++n) {
    float dot = 0.5f * y.sum, cheapest = 1e30f;
    int flipped = 0;
    for (int i = 0; i < kWidth; ++i) {
      const int digit = t.listed[n][i];
      if (digit != 0) dot += size[i];
      const float price = digit != 0 ? 3 * size[i] : size[i];
      if (price < cheapest) cheapest = price, flipped = i;
    }
    const float score = 2 * (even ? dot - cheapest : dot) - 12;
    if (score > best.score)
      best = {t.listed_number[n], y.minus ^ (even ? 1u << flipped : 0u), score};
  }
}

// The nearest of D8 + 1/2 among the 256 vectors with signs. A kind whose permutations are all there
// has its largest coordinates where y has; if the number of minus signs has the wrong parity, the
// cheapest is the smallest coordinate, which is 1/2 in all of them, with the other sign.
Found nearest_vector(const float* x, float shift) {
  float shifted[kWidth];
  for (int i = 0; i < kWidth; ++i) shifted[i] = x[i] - shift;
  const Sorted y(shifted);
  Found best;
  const Kind* kind = nullptr;
  for (const Kind& k : kKinds) {
    float dot = 0.5f * y.sum;
    if (k.fives != 0) dot += 2 * y.magnitude[0];
    for (int i = k.fives; i < k.fives + k.threes; ++i) dot += y.magnitude[i];
    if ((std::popcount(y.minus) + k.threes) % 2 != 0) dot -= y.magnitude[kWidth - 1];
    const float score = 2 * dot - static_cast<float>(2 + 6 * k.fives + 2 * k.threes);
    if (kind == nullptr || score > best.score) best.score = score, kind = &k;
  }
  Digits digits = {};
  for (int i = 0; i < kind->fives + kind->threes; ++i) digits[y.from[i]] = i < kind->fives ? 2 : 1;
  best.number = tables().number[pattern_of(digits)];
  best.minus = y.minus;
  if ((std::popcount(y.minus) + kind->threes) % 2 != 0) best.minus ^= 1u << y.from[kWidth - 1];
  try_listed(y, best);
  return best;
}

}  // namespace

std::span<const std::uint8_t[kE8Width], 256> e8p_vectors() { return tables().vectors; }

std::span<const std::int8_t[kE8Width], 256> e8_points() { return tables().points; }

void e8p_decode(std::uint16_t code, std::int8_t* quarters) {
  const int number = code >> 8;
  const unsigned free_signs = code & 127u;
  const unsigned odd =
      (static_cast<unsigned>(std::popcount(free_signs)) & 1) ^ (number >= kE8pFirstOdd);
  const unsigned minus = free_signs | odd << 7;
  const int shift = (code & 128) != 0 ? 1 : -1;
  for (int i = 0; i < kWidth; ++i) {
    const int size = tables().vectors[number][i];
    quarters[i] = static_cast<std::int8_t>(((minus >> i & 1) != 0 ? -size : size) + shift);
  }
}

std::uint16_t e8p_nearest(const float* x) {
  const Found plus = nearest_vector(x, 0.25f);
  const Found minus = nearest_vector(x, -0.25f);
  // |x - s - v|^2 = |x - s|^2 - score, and |x - s|^2 = |x|^2 - 2 s sum x + const.
  float sum = 0;
  for (int i = 0; i < kWidth; ++i) sum += x[i];
  const bool up = plus.score + 0.5f * sum > minus.score - 0.5f * sum;
  const Found& best = up ? plus : minus;
  return static_cast<std::uint16_t>(best.number << 8 | (up ? 128 : 0) |
                                    static_cast<int>(best.minus & 127));
}

std::uint8_t e8_nearest(const float* x) {
  const Sorted y(x);
  int best = 255;  // zero
  float score = 0;
  const auto consider = [&](float candidate, int point) {
    if (candidate > score) score = candidate, best = point;
  };
  const bool swap = y.from[0] > y.from[1];
  const int i = y.from[swap ? 1 : 0], j = y.from[swap ? 0 : 1];
  consider(2 * (y.magnitude[0] + y.magnitude[1]) - 2,
           tables().root_of_pair[y.minus >> i & 1][y.minus >> j & 1][i][j]);
  const bool odd = std::popcount(y.minus) % 2 != 0;
  const unsigned signs = y.minus ^ (odd ? 1u << y.from[kWidth - 1] : 0u);
  consider(y.sum - (odd ? 2 * y.magnitude[kWidth - 1] : 0.0f) - 2,
           112 + static_cast<int>(signs & 127));
  for (int k = 0; k < 2; ++k) {  // the second largest too: -2 e_7 is not there
    const int at = y.from[k];
    const int point = ((y.minus >> at & 1) != 0 ? 248 : 240) + at;
    if (point < 255) consider(4 * y.magnitude[k] - 4, point);
  }
  return static_cast<std::uint8_t>(best);
}

void e8p_decode_word(int bits, std::uint32_t word, std::int8_t* values) {
  assert(bits >= 2 && bits <= 4);
  e8p_decode(static_cast<std::uint16_t>(word), values);
  if (bits == 3) {
    const std::int8_t* point = tables().points[word >> 16 & 255];
    for (int i = 0; i < kWidth; ++i) values[i] = static_cast<std::int8_t>(values[i] + point[i]);
  } else if (bits == 4) {
    std::int8_t second[kWidth];
    e8p_decode(static_cast<std::uint16_t>(word >> 16), second);
    for (int i = 0; i < kWidth; ++i) {
      values[i] = static_cast<std::int8_t>(4 * values[i] + second[i]);
    }
  }
}

void e8p_decode_octet(int bits, const std::uint8_t* codes, std::int8_t* values) {
  e8p_decode_word(bits, join_codes(codes, kWidth, bits), values);
}

void e8p_quantize_octet(int bits, const float* x, std::uint8_t* codes) {
  assert(bits >= 2 && bits <= 4);
  std::uint32_t word = e8p_nearest(x);
  if (bits > 2) {
    std::int8_t quarters[kWidth];
    e8p_decode(static_cast<std::uint16_t>(word), quarters);
    float rest[kWidth];
    for (int i = 0; i < kWidth; ++i) {
      rest[i] = (x[i] - 0.25f * static_cast<float>(quarters[i])) * (bits == 3 ? 2.0f : 4.0f);
    }
    word |= static_cast<std::uint32_t>(bits == 3 ? e8_nearest(rest) : e8p_nearest(rest)) << 16;
  }
  split_word(word, kWidth, bits, codes);
}

}  // namespace cria
