// The smaller kernels against their definitions in double.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "kernels/activation/exp.h"
#include "kernels/activation/exp2.h"
#include "kernels/activation/exp2_words.h"
#include "kernels/attention/generic.h"
#include "kernels/kernels.h"
#include "kernels/test_data.h"
#include "tensor/float16.h"

namespace cria {
namespace {

using namespace test_data;

constexpr double kHalfUlp = 0x1p-24;

const Kernels& kernels() { return kernels_for(best_isa()); }

TEST(Exp, IsAccurateOverItsRange) {
  double worst = 0;
  for (float x = spec::kExpLowest; x <= spec::kExpHighest; x += 1.0f / 4096) {
    const double exact = std::exp(static_cast<double>(x));
    worst = std::fmax(worst, std::fabs(spec::exp(x) - exact) / exact);
  }
  EXPECT_LT(worst, 1.2e-7);
  RecordProperty("worst_relative_error_1e9", static_cast<int>(worst * 1e9));
}

TEST(Exp, EndsAreZeroAndInfinity) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(spec::exp(0.0f), 1.0f);
  EXPECT_EQ(spec::exp(-kInfinity), 0.0f);
  EXPECT_EQ(spec::exp(-1e30f), 0.0f);
  EXPECT_EQ(spec::exp(kInfinity), kInfinity);
  EXPECT_EQ(spec::exp(1e30f), kInfinity);
  EXPECT_TRUE(std::isnan(spec::exp(std::nanf(""))));
}

constexpr double kExp2Error = 3.7e-6;

TEST(Exp2, IsAccurateOverItsRange) {
  double worst = 0;
  for (float x = spec::kExp2Lowest; x <= 0; x += 1.0f / 4096) {
    const double exact = std::exp2(static_cast<double>(x));
    worst = std::fmax(worst, std::fabs(spec::exp2_of_negative(x) - exact) / exact);
  }
  EXPECT_LT(worst, kExp2Error);
  RecordProperty("worst_relative_error_1e9", static_cast<int>(worst * 1e9));
}

TEST(Exp2, EndsAreZeroAndOne) {
  EXPECT_EQ(spec::exp2_of_negative(0.0f), 1.0f);
  EXPECT_EQ(spec::exp2_of_negative(-1e-30f), 1.0f);
  EXPECT_EQ(spec::exp2_of_negative(-126.0f), 0x1p-126f);
  EXPECT_EQ(spec::exp2_of_negative(std::nextafter(-126.0f, -127.0f)), 0.0f);
  EXPECT_EQ(spec::exp2_of_negative(-std::numeric_limits<float>::infinity()), 0.0f);
  EXPECT_TRUE(std::isnan(spec::exp2_of_negative(std::nanf(""))));
}

constexpr double kExp2WordError = 1.8e-4;

// All words. What is rounded last is off by half a unit more.
TEST(Exp2, OfWordsIsAccurate) {
  const auto exact = [](int x) { return std::exp2((x - 65535) / 4096.0) * spec::kExp2WordOne; };
  int before = 0;
  for (int x = 0; x < 65536; ++x) {
    const int found = spec::exp2_word(static_cast<std::uint16_t>(x));
    EXPECT_NEAR(found, exact(x), 0.5 + kExp2WordError * exact(x)) << x;
    EXPECT_GE(found, before) << x;
    before = found;
  }
  EXPECT_EQ(spec::exp2_word(65535), spec::kExp2WordOne);
  EXPECT_EQ(spec::exp2_word(0), 0);
  // Octave by octave: rounding makes weights neither smaller nor larger on average. (Those below 1
  // are 0 or 1.)
  for (int octave = 2; octave < 16; ++octave) {
    double error = 0, size = 0;
    for (int x = 4096 * octave; x < 4096 * (octave + 1); ++x) {
      error += spec::exp2_word(static_cast<std::uint16_t>(x)) - exact(x);
      size += exact(x);
    }
    EXPECT_LT(std::fabs(error / 4096), 0.03 + 1e-4 * size / 4096) << octave;
  }
}

// silu: exp (1.2e-7), an addition and a division; swiglu one product more.
TEST(Activation, SiluAndSwiGlu) {
  std::mt19937 random(31);
  const auto x = random_floats(1000, random, 10.0f);
  std::vector<float> activated(1000), gated(500);
  kernels().silu({x.data(), activated.data(), 1000});
  kernels().swiglu({x.data(), x.data() + 500, 1000, 1, 500, gated.data(), 500});
  for (int i = 0; i < 1000; ++i) {
    const double exact = x[i] / (1.0 + std::exp(-static_cast<double>(x[i])));
    EXPECT_NEAR(activated[i], exact, 2.5e-7 * std::fabs(exact));
    if (i < 500) {
      EXPECT_NEAR(gated[i], exact * x[500 + i], 3.2e-7 * std::fabs(exact * x[500 + i]));
    }
  }
}

TEST(Activation, SiluOfLargeNumbers) {
  std::vector<float> x = {-1000.0f, -88.5f, 0.0f, 88.5f, 1000.0f, std::nanf("")};
  kernels().silu({x.data(), x.data(), 6});
  EXPECT_EQ(x[0], 0.0f);
  EXPECT_NEAR(x[1], 0.0f, 1e-35);
  EXPECT_EQ(x[2], 0.0f);
  EXPECT_EQ(x[3], 88.5f);
  EXPECT_EQ(x[4], 1000.0f);
  EXPECT_TRUE(std::isnan(x[5]));
}

// Each weight: x - max (half an ulp of at most 60), exp, a division by a sum of n positive terms.
TEST(Softmax, IsNormalizedExp) {
  std::mt19937 random(32);
  for (std::int64_t n : {1, 5, 8, 100, 1003}) {
    const auto x = random_floats(n, random, 5.0f);
    std::vector<float> out(n);
    kernels().softmax({x.data(), out.data(), n});
    double sum = 0;
    for (float value : x) sum += std::exp(static_cast<double>(value));
    const double bound = 60 * kHalfUlp + 2 * 1.2e-7 + (n / 8.0 + 4) * kHalfUlp;
    for (std::int64_t i = 0; i < n; ++i) {
      const double exact = std::exp(static_cast<double>(x[i])) / sum;
      EXPECT_NEAR(out[i], exact, bound * exact);
    }
  }
}

TEST(Softmax, HugeInputsDoNotOverflow) {
  std::vector<float> x = {3e38f, -3e38f, 3e38f};
  kernels().softmax({x.data(), x.data(), 3});
  EXPECT_EQ(x, (std::vector<float>{0.5f, 0.0f, 0.5f}));
}

// Two products after a scale that is exact to half an ulp.
TEST(RmsNorm, IsItsDefinition) {
  std::mt19937 random(33);
  for (std::int64_t n : {1, 9, 64, 3072}) {
    const auto x = random_floats(2 * n, random, 3.0f);
    const auto weight = random_floats(n, random);
    std::vector<float> out(2 * n);
    kernels().rms_norm({x.data(), n, 2, n, weight.data(), 1e-5f, out.data(), n});
    for (std::int64_t t = 0; t < 2; ++t) {
      double mean = 0;
      for (std::int64_t i = 0; i < n; ++i) mean += x[t * n + i] * double{x[t * n + i]} / n;
      for (std::int64_t i = 0; i < n; ++i) {
        const double exact = x[t * n + i] / std::sqrt(mean + double{1e-5f}) * weight[i];
        EXPECT_NEAR(out[t * n + i], exact, 3.01 * kHalfUlp * std::fabs(exact));
      }
    }
  }
}

TEST(RmsNorm, MayRunInPlaceAndSurvivesLargeInputs) {
  std::vector<float> x = {3e38f, -3e38f};  // the sum of squares overflows a float
  const std::vector<float> weight = {1.0f, 2.0f};
  kernels().rms_norm({x.data(), 2, 1, 2, weight.data(), 1e-5f, x.data(), 2});
  EXPECT_FLOAT_EQ(x[0], 1.0f);
  EXPECT_FLOAT_EQ(x[1], -2.0f);
}

// Against the matrix in double: entry (i, j) of H is -1 to the number of ones that i and j share.
// A sum of 2^k terms in k stages, each rounded: k half ulps of the sum of magnitudes; the scale and
// its product are two more.
TEST(Hadamard, IsTheMatrixTimesSigns) {
  std::mt19937 random(35);
  for (std::int64_t block : {1, 2, 8, 64, 256}) {
    const std::int64_t n = 2 * block;
    const auto x = random_floats(n, random);
    std::vector<float> signs(n), out(n);
    for (float& sign : signs) sign = random() % 2 == 0 ? 1.0f : -1.0f;
    kernels().hadamard({x.data(), n, 1, n, block, signs.data(), false, out.data(), n});
    for (std::int64_t i = 0; i < n; ++i) {
      double exact = 0, size = 0;
      const std::int64_t first = i / block * block;
      for (std::int64_t j = 0; j < block; ++j) {
        const int shared = std::popcount(static_cast<std::uint64_t>(j & (i - first)));
        const double term = double{x[first + j]} * signs[first + j] / std::sqrt(double(block));
        exact += shared % 2 == 0 ? term : -term;
        size += std::fabs(term);
      }
      EXPECT_NEAR(out[i], exact, (std::log2(double(block)) + 2) * kHalfUlp * size) << block;
    }
  }
}

// Both ways: the bound of one way twice, in the worst case on the largest sums that there are.
TEST(Hadamard, InverseTurnsBack) {
  std::mt19937 random(36);
  for (std::int64_t block : {4, 128, 8192}) {
    const auto x = random_floats(block, random);
    std::vector<float> signs(block), out(block);
    double norm = 0;
    for (float value : x) norm += double{value} * value;
    for (float& sign : signs) sign = random() % 2 == 0 ? 1.0f : -1.0f;
    kernels().hadamard({x.data(), block, 1, block, block, signs.data(), false, out.data(), block});
    EXPECT_NE(out, x);
    kernels().hadamard({out.data(), block, 1, block, block, signs.data(), true, out.data(), block});
    const double bound = 2 * (std::log2(double(block)) + 2) * kHalfUlp * std::sqrt(norm);
    for (std::int64_t i = 0; i < block; ++i) EXPECT_NEAR(out[i], x[i], bound);
  }
}

// The angle in double; cos, sin, two products and a sum rounded once each.
TEST(Rope, TurnsPairsByPositionTimesFrequency) {
  std::mt19937 random(34);
  constexpr std::int64_t kDim = 64, kHalf = 32, kHeads = 3;
  std::vector<float> inv_freq(kHalf);
  for (int i = 0; i < kHalf; ++i) inv_freq[i] = std::pow(500000.0f, -i / 32.0f);
  for (std::int64_t position : {0, 1, 1000, 131071}) {
    std::vector<float> cos(kHalf), sin(kHalf);
    rope_angles(position, inv_freq.data(), kHalf, cos.data(), sin.data());
    const auto x = random_floats(kHeads * kDim, random);
    auto turned = x;
    kernels().rope({turned.data(), kHeads * kDim, 1, kHeads, kDim, cos.data(), sin.data()});
    if (position == 0) {
      EXPECT_EQ(turned, x);
    }
    for (std::int64_t h = 0; h < kHeads; ++h) {
      for (std::int64_t i = 0; i < kHalf; ++i) {
        const double angle = static_cast<double>(position) * inv_freq[i];
        const double a = x[h * kDim + i], b = x[h * kDim + kHalf + i];
        const double bound = 4 * kHalfUlp * (std::fabs(a) + std::fabs(b));
        EXPECT_NEAR(turned[h * kDim + i], a * std::cos(angle) - b * std::sin(angle), bound);
        EXPECT_NEAR(turned[h * kDim + kHalf + i], b * std::cos(angle) + a * std::sin(angle), bound);
      }
    }
  }
}

struct AttentionCase {
  std::int64_t n_tokens = 0, n_heads = 0, head_dim = 0, first = 0;
  std::vector<float> q;
  KvHead k, v;

  AttentionArgs args(float* out) const {
    const std::int64_t width = n_heads * head_dim;
    return {q.data(),       width,          n_tokens, n_heads, head_dim, k.type, v.type,
            k.bytes.data(), v.bytes.data(), first,    0.125f,  out,      width};
  }
};

AttentionCase make_case(KvType type, std::int64_t n_tokens, std::int64_t n_heads,
                        std::int64_t head_dim, std::int64_t first, std::mt19937& random) {
  const std::int64_t n = (first + n_tokens) * head_dim;
  AttentionCase c = {n_tokens, n_heads, head_dim, first, {}, {}, {}};
  c.q = random_floats(n_tokens * n_heads * head_dim, random);
  c.k = kv_head(type, random_floats(n, random), head_dim, false);
  c.v = kv_head(type, random_floats(n, random), head_dim, true);
  return c;
}

// One output of plain attention in double, and the bound on what float makes of it.
struct Exact {
  double value;
  double bound;
};

// Of a position's values in int8, columns [32 * block, 32 * block + 32).
double value_scale(const AttentionCase& c, std::size_t position, std::int64_t block) {
  const auto p = static_cast<std::int64_t>(position);
  const std::byte* panel = c.v.bytes.data() + p / kKvPanel * kv_panel_bytes(c.head_dim);
  return spec::half_at(panel + value_scales_offset(c.head_dim, block), p % kKvPanel);
}

// What weights as bytes add to the error of the sum of weights times values: half a step a code. A
// step is a 255th of the tile's largest code, and longer by what is behind the point of the factor,
// at most one in 512; or it is a code.
double error_of_bytes(const AttentionCase& c, const std::vector<double>& weights, std::int64_t d) {
  double error = 0;
  for (std::size_t p0 = 0; p0 < weights.size(); p0 += spec::kAttentionTile) {
    const std::size_t end = std::min(weights.size(), p0 + spec::kAttentionTile);
    double largest = 0, top_weight = 0, top_scale = 0, magnitudes = 0;
    for (std::size_t p = p0; p < end; ++p) {
      const double scale = value_scale(c, p, d / kColumnGroup);
      largest = std::fmax(largest, weights[p] * scale);
      top_weight = std::fmax(top_weight, weights[p]);
      top_scale = std::fmax(top_scale, scale);
      if (scale > 0) magnitudes += std::fabs(c.v.values[p * c.head_dim + d]) / scale;
    }
    const double code = top_weight * top_scale / spec::kWeightMax;
    const double step = std::fmax((largest + 0.5 * code) / 255 * (1 + 1.0 / 512), code);
    error += 0.5 * step * magnitudes;
  }
  return error;
}

Exact exact_attention(const AttentionCase& c, std::int64_t t, std::int64_t h, std::int64_t d) {
  const std::int64_t n = c.first + t + 1;
  const float* q = c.q.data() + (t * c.n_heads + h) * c.head_dim;
  const bool q8 = c.k.type == KvType::kQ8;
  double sum = 0, weighted = 0, size = 0, worst_score_error = 0;
  std::vector<double> weights;
  for (std::int64_t p = 0; p < n; ++p) {
    double dot = 0, magnitude = 0, rounded = 0;
    float top = 0;  // kQ8 rounds the query to half a step
    for (std::int64_t i = 0; q8 && i < c.head_dim; ++i) top = std::fmax(top, std::fabs(q[i]));
    for (std::int64_t i = 0; i < c.head_dim; ++i) {
      const double product = double{q[i]} * c.k.values[p * c.head_dim + i];
      dot += product;
      magnitude += std::fabs(product);
      rounded += 0.5 * top / 127 * std::fabs(c.k.values[p * c.head_dim + i]);
    }
    const double weight = std::exp(dot * 0.125);
    weights.push_back(weight);
    sum += weight;
    weighted += weight * c.v.values[p * c.head_dim + d];
    size += weight * std::fabs(c.v.values[p * c.head_dim + d]);
    // head_dim / 8 fused steps, three additions, the factor and its two roundings, the subtraction
    // of the top.
    const double error = (c.head_dim / 8.0 + 5) * kHalfUlp * magnitude * 0.125 +
                         4 * kHalfUlp * std::fabs(dot * 0.125) + 0.125 * rounded;
    worst_score_error = std::fmax(worst_score_error, error);
  }
  // A weight is off by its score's error, that of exp2, and one shrink and, with kQ8, one growth a
  // tile; sums add a step a position. kQ8 has scores in steps.
  const double exp2_error =
      q8 ? kExp2WordError + std::log(2.0) * 0.5 / spec::kExp2WordStep : kExp2Error;
  const double relative = 2 * (worst_score_error + exp2_error + kExp2Error * n / 64.0) +
                          (2.0 * static_cast<double>(n) + 4) * kHalfUlp;
  // kQ8 rounds each of 128 weights, which count twice (their sum, too), their codes and the scales
  // of values to half a step; all tiles' largest weights together are at most the sum. Then codes
  // become bytes.
  float largest = 0;
  for (float v : c.v.values) largest = std::fmax(largest, std::fabs(v));
  const double steps =
      2 * 0.5 / spec::kExp2WordOne + 0.5 / spec::kWeightMax + 0.5 / spec::kValueScaleMax;
  const double of_weights = q8 ? 128 * steps * largest + error_of_bytes(c, weights, d) / sum : 0.0;
  return {weighted / sum, relative * size / sum + of_weights};
}

TEST(Attention, IsSoftmaxOfScoresTimesValues) {
  std::mt19937 random(35);
  for (auto [type, head_dim] : {std::pair{KvType::kF16, 8},
                                {KvType::kF16, 64},
                                {KvType::kF16, 128},
                                {KvType::kQ8, 32},
                                {KvType::kQ8, 64},
                                {KvType::kQ8, 128}}) {
    for (std::int64_t first : {0, 61, 150}) {
      const AttentionCase c = make_case(type, 4, 3, head_dim, first, random);
      std::vector<float> out(c.q.size());
      kernels().attention(c.args(out.data()));
      for (std::int64_t t = 0; t < 4; ++t) {
        for (std::int64_t h = 0; h < 3; ++h) {
          for (std::int64_t d = 0; d < head_dim; d += 3) {
            const Exact exact = exact_attention(c, t, h, d);
            EXPECT_NEAR(out[(t * 3 + h) * head_dim + d], exact.value, exact.bound);
          }
        }
      }
    }
  }
}

// With kQ8, too: a tile's largest weight times its largest scale is a byte without rounding.
TEST(Attention, OnePositionGivesItsValue) {
  std::mt19937 random(36);
  for (KvType type : {KvType::kF16, KvType::kQ8}) {
    const AttentionCase c = make_case(type, 1, 2, 64, 0, random);
    const double ulps = type == KvType::kQ8 ? 4 : 0;  // of the scale, and of sums and products
    std::vector<float> out(c.q.size());
    kernels().attention(c.args(out.data()));
    for (int i = 0; i < 64; ++i) {
      const double value = c.v.values[i];
      EXPECT_NEAR(out[i], value, 2 * ulps * kHalfUlp * std::fabs(value));
      EXPECT_NEAR(out[64 + i], value, 2 * ulps * kHalfUlp * std::fabs(value));
    }
  }
}

// Two positions of equal weight, the first with the larger values: what the second adds is off by
// half a byte's step at most.
TEST(Attention, WeightsOfInt8ValuesHaveEightBits) {
  constexpr std::int64_t kDim = 32, kColumn = 5;
  AttentionCase c = {1, 1, kDim, 1, std::vector<float>(kDim), {}, {}};
  c.k = kv_head(KvType::kQ8, std::vector<float>(2 * kDim), kDim, false);
  for (int i = 1; i <= 300; ++i) {
    std::vector<float> values(2 * kDim);
    values[0] = 1.0f;
    values[kDim + kColumn] = static_cast<float>(i) / 300;
    c.v = kv_head(KvType::kQ8, values, kDim, true);
    std::vector<float> out(kDim);
    kernels().attention(c.args(out.data()));
    // As in error_of_bytes, and half a step of the code and of the scale; half of the weight.
    const double steps = (1 + 1.0 / 512) / 255 + 1 / spec::kWeightMax + 1 / spec::kValueScaleMax;
    const double exact = c.v.values[kDim + kColumn] / 2.0;
    EXPECT_NEAR(out[kColumn], exact, 0.5 * c.v.values[0] * 0.5 * steps + 8 * kHalfUlp) << i;
  }
}

// A token's result does not depend on the tokens of the call: chunked prefill equals whole prefill.
TEST(Attention, TokensOneByOneGiveTheSameBits) {
  std::mt19937 random(37);
  for (auto [isa, type] : {std::pair{Isa::kGeneric, KvType::kF16},
                           {Isa::kGeneric, KvType::kQ8},
                           {best_isa(), KvType::kF16},
                           {best_isa(), KvType::kQ8}}) {
    const AttentionCase c = make_case(type, 70, 3, 32, 30, random);
    std::vector<float> whole(c.q.size()), parts(c.q.size());
    kernels_for(isa).attention(c.args(whole.data()));
    const std::int64_t width = c.n_heads * c.head_dim;
    for (std::int64_t t = 0; t < c.n_tokens; ++t) {
      AttentionArgs args = c.args(parts.data() + t * width);
      args.q += t * width;
      args.first_position += t;
      args.n_tokens = 1;
      kernels_for(isa).attention(args);
    }
    EXPECT_TRUE(same_bits(whole, parts)) << isa_name(isa);
  }
}

// All scales of a head are the same; those of keys have so few bits that sums of products times
// them are exact; and codes are off by half a step at most.
TEST(StoreQ8, OneScaleAHead) {
  std::mt19937 random(41);
  for (std::int64_t head_dim : {32, 64, 96, 128, 256}) {
    for (bool is_value : {false, true}) {
      for (float size : {1e-30f, 3e-6f, 1e-4f, 1e-3f, 1.0f, 77.0f, 1e5f, 2e6f}) {
        const auto x = random_floats(head_dim, random, size);
        std::vector<std::byte> panel(static_cast<std::size_t>(kv_panel_bytes(head_dim)));
        kernels().store_q8({x.data(), head_dim, 21, panel.data(), is_value});
        SCOPED_TRACE(testing::Message() << head_dim << (is_value ? " v " : " k ") << size);
        const auto half_of = [&](std::int64_t b) {
          const std::int64_t scales =
              is_value ? value_scales_offset(head_dim, b) : key_scales_offset(b);
          std::uint16_t bits;
          std::memcpy(&bits, panel.data() + scales + 2 * (21 % kKvPanel), sizeof(bits));
          return bits;
        };
        const std::uint16_t half = half_of(0);
        for (std::int64_t b = 1; b < head_dim / kColumnGroup; ++b) EXPECT_EQ(half_of(b), half);
        float amax = 0;
        for (float v : x) amax = std::fmax(amax, std::fabs(v));
        const float scale = f16_to_f32(half);
        const bool few_bits = !is_value && head_dim <= 128;
        if (few_bits) {
          EXPECT_GE(scale, amax / 127);
          EXPECT_LE(scale, amax / 127 * (head_dim <= 64 ? 1.125f : 1.25f) + 0x1p-24f);
          // Every sum up to the largest, times the scale, has at most 24 bits.
          int exponent = 0;
          const auto bits = static_cast<std::int64_t>(std::ldexp(std::frexp(scale, &exponent), 11));
          const std::int64_t odd =
              bits == 0 ? 0 : bits >> std::countr_zero(static_cast<std::uint64_t>(bits));
          EXPECT_LT(odd * 127 * 128 * head_dim, std::int64_t{1} << 24);
        }
        for (std::int64_t d = 0; d < head_dim; ++d) {
          // Half a step, and what rounding the scale to a half float does to the code.
          const double bound = 0.5001 * scale + (few_bits ? 0 : 127 * (scale * 0x1p-11 + 0x1p-25));
          EXPECT_NEAR(panel_value(panel.data(), head_dim, 21 % kKvPanel, d, is_value), x[d], bound);
        }
      }
    }
  }
}

TEST(StoreQ8, WhatIsNotFiniteIsNotANumber) {
  for (float bad : {std::nanf(""), -std::numeric_limits<float>::infinity()}) {
    for (bool is_value : {false, true}) {
      float x[64] = {1.0f, 2.0f};
      x[40] = bad;
      std::byte panel[kv_panel_bytes(64)];
      kernels().store_q8({x, 64, 3, panel, is_value});
      for (std::int64_t d : {0, 1, 40, 63}) {
        EXPECT_TRUE(std::isnan(panel_value(panel, 64, 3, d, is_value))) << d;
      }
    }
  }
}

// Positions after a token's own are not read: the cache behind them may hold anything.
TEST(Attention, IsCausal) {
  std::mt19937 random(38);
  for (KvType type : {KvType::kF16, KvType::kQ8}) {
    AttentionCase c = make_case(type, 1, 2, 32, 40, random);
    const auto k = random_floats(41 * 32, random), v = random_floats(41 * 32, random);
    std::vector<float> before(c.q.size()), after(c.q.size());
    const auto fill = [&](std::byte rest) {
      c.k = kv_head(type, k, 32, false, rest);
      c.v = kv_head(type, v, 32, true, rest);
      c.k.bytes.resize(c.k.bytes.size() + 4096, rest);
      c.v.bytes.resize(c.v.bytes.size() + 4096, rest);
    };
    fill(std::byte{0});
    kernels().attention(c.args(before.data()));
    fill(std::byte{0x7f});  // two of them are not a number, as a half float and as a scale
    kernels().attention(c.args(after.data()));
    EXPECT_TRUE(same_bits(before, after)) << kv_type_name(type);
  }
}

// A query that is not finite spoils its own head of its own token only.
TEST(Attention, WhatIsNotFiniteGivesNotANumber) {
  std::mt19937 random(39);
  for (Isa isa : {Isa::kGeneric, best_isa()}) {
    for (KvType type : {KvType::kF16, KvType::kQ8}) {
      for (float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
        AttentionCase c = make_case(type, 20, 2, 64, 130, random);
        std::vector<float> good(c.q.size()), spoilt(c.q.size());
        kernels_for(isa).attention(c.args(good.data()));
        c.q[(7 * 2 + 1) * 64 + 5] = bad;
        kernels_for(isa).attention(c.args(spoilt.data()));
        for (std::size_t i = 0; i < good.size(); ++i) {
          if (i / 64 == 7 * 2 + 1) {
            EXPECT_TRUE(std::isnan(spoilt[i])) << kv_type_name(type) << " " << i;
          } else {
            EXPECT_EQ(spoilt[i], good[i]) << kv_type_name(type) << " " << i;
          }
        }
      }
    }
  }
}

// So does a key for all who see it, and so do int8 values under scores of 2^24, which have no bits
// left for what is between them.
TEST(Attention, KeysThatAreNotFiniteGiveNotANumber) {
  std::mt19937 random(40);
  constexpr std::int64_t kFirst = 130, kBad = 137, kDim = 64;
  for (Isa isa : {Isa::kGeneric, best_isa()}) {
    for (float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
      AttentionCase c = make_case(KvType::kQ8, 20, 2, kDim, kFirst, random);
      auto keys = random_floats((kFirst + 20) * kDim, random);
      c.k = kv_head(KvType::kQ8, keys, kDim, false);
      std::vector<float> good(c.q.size()), spoilt(c.q.size());
      kernels_for(isa).attention(c.args(good.data()));
      keys[kBad * kDim + 40] = bad;
      c.k = kv_head(KvType::kQ8, keys, kDim, false);
      kernels_for(isa).attention(c.args(spoilt.data()));
      for (std::size_t i = 0; i < good.size(); ++i) {
        if (kFirst + static_cast<std::int64_t>(i) / (2 * kDim) >= kBad) {
          EXPECT_TRUE(std::isnan(spoilt[i])) << isa_name(isa) << " " << i;
        } else {
          EXPECT_EQ(spoilt[i], good[i]) << isa_name(isa) << " " << i;
        }
      }
    }
  }
}

TEST(Attention, ScoresWithoutBitsForTheirWeightsGiveNotANumber) {
  std::mt19937 random(41);
  for (Isa isa : {Isa::kGeneric, best_isa()}) {
    AttentionCase c = make_case(KvType::kQ8, 20, 2, 64, 130, random);
    std::vector<float> out(c.q.size());
    for (float& q : c.q) q *= 1e5f;
    kernels_for(isa).attention(c.args(out.data()));
    for (float x : out) EXPECT_TRUE(std::isfinite(x)) << isa_name(isa);
    for (float& q : c.q) q *= 1e4f;
    kernels_for(isa).attention(c.args(out.data()));
    for (float x : out) EXPECT_TRUE(std::isnan(x)) << isa_name(isa);
  }
}

TEST(Elementwise, AddAndMul) {
  const std::vector<float> x = {1, 2, 3}, y = {4, 5, 6};
  std::vector<float> sum(3), product(3);
  kernels().add({x.data(), y.data(), sum.data(), 3});
  kernels().mul({x.data(), y.data(), product.data(), 3});
  EXPECT_EQ(sum, (std::vector<float>{5, 7, 9}));
  EXPECT_EQ(product, (std::vector<float>{4, 10, 18}));
}

}  // namespace
}  // namespace cria
