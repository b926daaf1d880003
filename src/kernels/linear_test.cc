// The linear kernels against plain sums in double, and their independence of how work is split.
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/kernels.h"
#include "kernels/panel/generic.h"
#include "kernels/test_data.h"

namespace cria {
namespace {

using namespace test_data;

constexpr double kHalfUlp = 0x1p-24;

// Wherever a walk begins, it goes where the offsets of each column group say.
template <Encoding encoding>
void expect_walks(const EncodingSpec& spec) {
  const PanelLayout layout = panel_layout(spec.encoding, 40 * kColumnGroup);
  const std::vector<std::byte> bytes(layout.size_bytes);
  const spec::Panel panel = spec::panel_at(bytes.data(), layout);
  for (std::int64_t first : {0, 1, 3, 8, 13}) {
    spec::GroupWalk<encoding> walk(layout.scale_shift, first);
    for (std::int64_t g = first; g < 40; ++g, walk.next()) {
      const spec::Group found = walk.of(bytes.data());
      const spec::Group expected = spec::group_at<encoding>(panel, g);
      ASSERT_EQ(found.codes, expected.codes) << spec.name << " " << first << " " << g;
      ASSERT_EQ(found.scales, expected.scales) << spec.name << " " << first << " " << g;
      ASSERT_EQ(found.supers, expected.supers) << spec.name << " " << first << " " << g;
      ASSERT_EQ(walk.begin(), spec.group_offset(g, layout.scale_shift)) << spec.name << " " << g;
      ASSERT_EQ(walk.end(), spec.group_offset(g + 1, layout.scale_shift)) << spec.name << " " << g;
    }
  }
}

TEST(GroupWalk, GoesWhereTheOffsetsSay) {
  for (const EncodingSpec& spec : kEncodingTable) {
    switch (kernel_form(spec.encoding)) {
#define CRIA_CASE(name)                 \
  case Encoding::name:                  \
    expect_walks<Encoding::name>(spec); \
    break;
      CRIA_FOR_EACH_BLOCK_ENCODING(CRIA_CASE)
#undef CRIA_CASE
      default:
        break;  // dense
    }
  }
}

class Linear : public testing::TestWithParam<Encoding> {
 protected:
  bool dense() const { return encoding_spec(GetParam()).dense(); }
};

std::vector<float> decoded_row(const Weights& w, std::int64_t row) {
  std::vector<float> out(static_cast<std::size_t>(w.n_cols));
  decode_packed_row(w.encoding, {w.packed.data(), w.packed.size_bytes()}, w.n_cols, row, out);
  return out;
}

// Four chains of ceil(K / 4) fused steps, then two additions: each of these roundings is at most
// half an ulp of a partial sum, and no partial sum exceeds sum |w x| by more than itself.
TEST_P(Linear, A16IsTheSumWithinItsRounding) {
  std::mt19937 random(21);
  for (std::int64_t n_cols : {12, 32, 300, 1056}) {
    const Weights w = random_weights(GetParam(), 19, n_cols, random);
    const Activations a = random_activations(3, n_cols, random);
    std::vector<float> out(3 * 19);
    kernels_for(best_isa()).linear_a16(a16_args(w, a, out.data()));
    for (std::int64_t r = 0; r < 19; ++r) {
      const auto row = decoded_row(w, r);
      for (std::int64_t t = 0; t < 3; ++t) {
        double exact = 0, magnitude = 0;
        for (std::int64_t k = 0; k < n_cols; ++k) {
          const double product = static_cast<double>(row[k]) * a.x[t * n_cols + k];
          exact += product;
          magnitude += std::fabs(product);
        }
        const double roundings = std::ceil(n_cols / 4.0) + 2;
        EXPECT_NEAR(out[t * 19 + r], exact, 1.01 * roundings * kHalfUlp * magnitude);
      }
    }
  }
}

// With the activations as code * scale: at most two fused steps a group, each after one or two
// roundings of its own factor; plus one rounding in a decoded weight, which the kernel does not
// make.
TEST_P(Linear, A8IsTheSumWithinItsRounding) {
  if (dense()) return;  // no a8 form, which DenseWeightsHaveNoA8Form checks
  std::mt19937 random(22);
  for (std::int64_t n_cols : {12, 32, 300, 1056}) {
    const Weights w = random_weights(GetParam(), 19, n_cols, random);
    const Activations a = random_activations(3, n_cols, random);
    std::vector<float> out(3 * 19);
    kernels_for(best_isa()).linear_a8(a8_args(w, a, out.data()));
    const std::int64_t n_blocks = a8_blocks(n_cols);
    for (std::int64_t r = 0; r < 19; ++r) {
      const RowCodes codes =
          unpack_row(w.encoding, {w.packed.data(), w.packed.size_bytes()}, n_cols, r);
      const auto row = decoded_row(w, r);
      for (std::int64_t t = 0; t < 3; ++t) {
        double exact = 0, magnitude = 0;
        for (std::int64_t k = 0; k < n_cols; ++k) {
          const std::int64_t at = a8_index(t, k / 32, 3, n_blocks);
          const double x = static_cast<double>(a.blocks[at].scale) * a.codes[at * 32 + k % 32];
          const double min = block_min(codes, k / encoding_spec(GetParam()).block);
          exact += row[k] * x;
          // Scale and min parts are summed apart and may cancel: each counts with its size.
          magnitude += (std::fabs(row[k] - min) + std::fabs(min)) * std::fabs(x);
        }
        const double roundings = 2 * static_cast<double>(n_blocks) + 4;
        EXPECT_NEAR(out[t * 19 + r], exact, 1.01 * roundings * kHalfUlp * magnitude)
            << encoding_spec(GetParam()).name << " cols " << n_cols;
      }
    }
  }
}

template <typename Args, typename Run, typename Advance>
void check_splits(const Weights& w, const Activations& a, Args whole, Run run, Advance advance) {
  std::vector<float> expected(static_cast<std::size_t>(a.n_tokens * w.n_rows));
  whole.out = expected.data();
  run(whole);
  for (std::int64_t panels_a_call : {1, 2}) {
    for (std::int64_t tokens_a_call : {1, 2, 3, 5, 8}) {
      std::vector<float> found(expected.size(), -1.0f);
      for (std::int64_t row = 0; row < w.n_rows; row += panels_a_call * kPanelRows) {
        for (std::int64_t t = 0; t < a.n_tokens; t += tokens_a_call) {
          Args part = whole;
          part.panels = w.panel(row / kPanelRows);
          part.n_rows = std::min(panels_a_call * kPanelRows, w.n_rows - row);
          part.n_tokens = std::min(tokens_a_call, a.n_tokens - t);
          part.out = found.data() + t * w.n_rows + row;
          advance(part, t);
          run(part);
        }
      }
      EXPECT_TRUE(same_bits(expected, found))
          << encoding_spec(w.encoding).name << ": " << panels_a_call << " panels, " << tokens_a_call
          << " tokens a call";
    }
  }
}

TEST_P(Linear, AnySplitGivesTheSameBits) {
  std::mt19937 random(23);
  const Weights w = random_weights(GetParam(), 39, 352, random);
  const Activations a = random_activations(41, 352, random);
  for (Isa isa : {Isa::kGeneric, best_isa()}) {
    const Kernels& kernels = kernels_for(isa);
    check_splits(w, a, a16_args(w, a, nullptr), kernels.linear_a16,
                 [&](LinearA16Args& args, std::int64_t t) { args.x += t * a.n_cols; });
    if (dense()) continue;
    Activations part;
    check_splits(w, a, a8_args(w, a, nullptr), kernels.linear_a8,
                 [&](LinearA8Args& args, std::int64_t t) {
                   const std::int64_t n = args.n_tokens;
                   const float* x = a.x.data() + t * a.n_cols;
                   part = activations_of({x, x + n * a.n_cols}, n, a.n_cols);
                   args.codes = part.codes.data();
                   args.blocks = part.blocks.data();
                 });
  }
}

// An a8 output differs from the a16 output by what rounding the activations does, and by no more:
// |x - scale code| <= scale / 2 for every element.
TEST_P(Linear, A8StaysNearA16) {
  if (dense()) return;
  std::mt19937 random(24);
  const Weights w = random_weights(GetParam(), 16, 256, random);
  const Activations a = random_activations(2, 256, random);
  std::vector<float> a8(2 * 16), a16(2 * 16);
  kernels_for(best_isa()).linear_a8(a8_args(w, a, a8.data()));
  kernels_for(best_isa()).linear_a16(a16_args(w, a, a16.data()));
  for (std::int64_t r = 0; r < 16; ++r) {
    const auto row = decoded_row(w, r);
    for (std::int64_t t = 0; t < 2; ++t) {
      double bound = 1e-3;  // roundings, bounded far more tightly by the tests above
      for (std::int64_t k = 0; k < 256; ++k) {
        bound += std::fabs(row[k]) * 0.5 * a.blocks[a8_index(t, k / 32, 2, 8)].scale;
      }
      EXPECT_NEAR(a8[t * 16 + r], a16[t * 16 + r], bound);
    }
  }
}

std::vector<Encoding> all_encodings() {
  std::vector<Encoding> encodings;
  for (const EncodingSpec& spec : kEncodingTable) encodings.push_back(spec.encoding);
  return encodings;
}

INSTANTIATE_TEST_SUITE_P(All, Linear, testing::ValuesIn(all_encodings()),
                         [](const testing::TestParamInfo<Encoding>& info) {
                           return encoding_spec(info.param).name;
                         });

TEST(LinearA8, DenseWeightsHaveNoA8Form) {
  std::mt19937 random(25);
  const Weights w = random_weights(Encoding::kF16, 16, 32, random);
  const Activations a = random_activations(1, 32, random);
  std::vector<float> out(16, 5.0f);
  kernels_for(best_isa()).linear_a8(a8_args(w, a, out.data()));
  EXPECT_EQ(out, std::vector<float>(16, 5.0f));
}

// Outputs larger than caches may be written in another way.
TEST(LinearA8, LargeOutputsAreTheSame) {
  std::mt19937 random(28);
  constexpr std::int64_t kTokens = 40, kStride = 32768;  // 5 MB
  const Weights w = random_weights(Encoding::kQ4, 35, 96, random);
  const Activations a = random_activations(kTokens, 96, random);
  LinearA8Args args = a8_args(w, a, nullptr);
  args.out_stride = kStride;
  std::vector<float> expected;
  for (Isa isa : kAllIsas) {
    if (!cpu_supports(isa)) continue;
    AlignedBuffer out = AlignedBuffer::allocate(kTokens * kStride * sizeof(float)).value();
    args.out = reinterpret_cast<float*>(out.data());
    kernels_for(isa).linear_a8(args);
    const std::vector<float> found(args.out, args.out + kTokens * kStride);
    if (expected.empty()) expected = found;  // of the generic kernel, the first of all
    EXPECT_TRUE(same_bits(expected, found)) << isa_name(isa);
  }
}

// A token with a not-a-number in it gives not-a-number, and spoils no other token.
TEST(LinearA8, NotANumberStaysInItsToken) {
  std::mt19937 random(26);
  for (Encoding encoding : {Encoding::kQ4, Encoding::kQ2KMin, Encoding::kQ6K}) {
    const Weights w = random_weights(encoding, 16, 64, random);
    for (int n_tokens : {1, 2, 5, 40}) {
      auto x = random_floats(n_tokens * 64, random);
      const int spoiled = n_tokens / 2;
      x[spoiled * 64 + 40] = std::nanf("");
      const Activations a = activations_of(std::move(x), n_tokens, 64);
      std::vector<float> out(n_tokens * 16);
      for (Isa isa : kAllIsas) {
        if (!cpu_supports(isa)) continue;
        kernels_for(isa).linear_a8(a8_args(w, a, out.data()));
        for (int i = 0; i < n_tokens * 16; ++i) {
          EXPECT_EQ(std::isnan(out[i]), i / 16 == spoiled) << isa_name(isa) << " " << i;
        }
      }
    }
  }
}

TEST(QuantizeA8, CodesAreTheNearestAndSumsAreTheirs) {
  std::mt19937 random(27);
  const Activations a = random_activations(20, 100, random);
  for (std::int64_t t = 0; t < 20; ++t) {
    for (std::int64_t b = 0; b < 4; ++b) {
      const A8Block& block = a.blocks[a8_index(t, b, 20, 4)];
      const std::int8_t* codes = a.codes.data() + a8_index(t, b, 20, 4) * 32;
      int sums[2] = {0, 0};
      float amax = 0;
      for (int i = 0; i < 32; ++i) {
        sums[i / 16] += codes[i];
        const std::int64_t k = b * 32 + i;
        const float x = k < 100 ? a.x[t * 100 + k] : 0.0f;
        amax = std::fmax(amax, std::fabs(x));
        // Half a step, and the roundings of 1 / scale and of the product.
        EXPECT_LE(std::fabs(x - static_cast<double>(block.scale) * codes[i]),
                  block.scale * (0.5 + 127 * 2 * kHalfUlp));
        if (k >= 100) {
          EXPECT_EQ(codes[i], 0);
        }
      }
      int exponent;
      const float sixteenths = std::frexp(block.scale, &exponent) * 16;
      EXPECT_EQ(sixteenths, std::nearbyint(sixteenths));
      EXPECT_LE(amax, 127 * block.scale);
      EXPECT_GT(amax * (1 + kHalfUlp), 127 * block.scale * (sixteenths - 1) / sixteenths);
      EXPECT_EQ(block.sums[0], sums[0]);
      EXPECT_EQ(block.sums[1], sums[1]);
    }
  }
}

TEST(QuantizeA8, TheScaleIsRoundedUpToFourBits) {
  struct Case {
    float largest;
    float scale;
    int code;
  };
  const float above = std::nextafterf(127, 128);
  const Case cases[] = {{0x1p-101f, 0, 0},
                        {0x1p-100f, 0x1.2p-107f, 114},
                        {1, 0x1.2p-7f, 114},
                        {127, 1, 127},
                        {above, 1.125f, 113},
                        {-127, 1, -127},
                        {127 * 1.875f, 1.875f, 127},
                        {-127 * 1.9f, 2, -121},
                        {0, 0, 0},
                        {0x1.fp99f, 0x1p93f, 124}};
  for (const Case& c : cases) {
    std::vector<float> x(32, c.largest / 4);
    x[17] = c.largest;
    const Activations a = activations_of(x, 1, 32);
    EXPECT_EQ(a.blocks[0].scale, c.scale) << c.largest;
    EXPECT_EQ(a.codes[17], c.code) << c.largest;
  }
  for (const float x : {0x1p100f, -0x1p127f, HUGE_VALF, std::nanf("")}) {
    const Activations a = activations_of(std::vector<float>(32, x), 1, 32);
    EXPECT_TRUE(std::isnan(a.blocks[0].scale)) << x;
    EXPECT_EQ(a.codes, std::vector<std::int8_t>(32, 0)) << x;
  }
}

}  // namespace
}  // namespace cria
