// Every line of kernels.inc for an instruction set equals the generic line bit for bit.
#include "kernels/kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/isa.h"
#include "kernels/test_data.h"

namespace cria {
namespace {

using namespace test_data;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr std::int64_t kWidths[] = {1, 7, 8, 9, 31, 32, 33, 64, 100, 257};

// Where the address sanitizer looks on, which takes several times as long and cares for places, not
// for values: linears then add to half of the outputs and set the other half.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

template <typename Args>
using Kernel = void (*)(const Args&);

// Random numbers with the awkward ones among them.
std::vector<float> awkward_floats(std::int64_t n, std::mt19937& random) {
  std::vector<float> x = random_floats(n, random, 20.0f);
  constexpr float kAwkward[] = {0.0f,  -0.0f, 1e-40f,  -1e-30f, 3e38f,     -3e38f, 88.5f,
                                -88.f, 87.1f, 65504.f, 65520.f, kInfinity, 6e-8f,  -kInfinity};
  for (float& value : x) {
    if (random() % 16 == 0) value = kAwkward[random() % std::size(kAwkward)];
  }
  return x;
}

// Equal bits, or both not a number (which one is the processor's business).
void expect_same(const std::vector<float>& a, const std::vector<float>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    ASSERT_EQ(std::bit_cast<std::uint32_t>(a[i]), std::bit_cast<std::uint32_t>(b[i]))
        << "element " << i << ": " << a[i] << " and " << b[i];
  }
}

// Calls for rows [0, parts[0]), then as many as the next part says: `x` has them all. Returns what
// `isa` makes of them.
std::vector<A8Block> compare_quantize_a8(Kernel<QuantizeA8Args> generic, Kernel<QuantizeA8Args> isa,
                                         const std::vector<float>& x,
                                         std::initializer_list<int> parts) {
  const std::int64_t n_rows = std::accumulate(parts.begin(), parts.end(), 0);
  const std::int64_t n_cols = static_cast<std::int64_t>(x.size()) / n_rows;
  const auto n_blocks = static_cast<std::size_t>(n_rows * a8_blocks(n_cols));
  std::vector<std::int8_t> codes[2];
  std::vector<A8Block> blocks[2];
  for (int i = 0; i < 2; ++i) {
    codes[i].assign(32 * n_blocks, 99);
    blocks[i].assign(n_blocks, {99.0f, {99, 99}});
    std::int64_t first = 0;
    for (const int n : parts) {
      (i == 0 ? generic : isa)(
          {x.data(), n_cols, n_rows, first, n, n_cols, codes[i].data(), blocks[i].data()});
      first += n;
    }
  }
  EXPECT_EQ(codes[0], codes[1]) << n_rows << " x " << n_cols;
  EXPECT_TRUE(same_bits(blocks[0], blocks[1])) << n_rows << " x " << n_cols;
  return blocks[1];
}

void compare(Kernel<QuantizeA8Args> generic, Kernel<QuantizeA8Args> isa) {
  std::mt19937 random(11);
  for (std::int64_t n_cols : kWidths) {
    // Whole tiles, parts of them, a last one that is narrower; one row.
    compare_quantize_a8(generic, isa, random_floats(77 * n_cols, random), {32, 16, 8, 3, 5, 13});
    compare_quantize_a8(generic, isa, random_floats(5 * n_cols, random), {5});
    compare_quantize_a8(generic, isa, random_floats(n_cols, random), {1});

    constexpr std::int64_t kTokens = 40;
    auto x = random_floats(kTokens * n_cols, random);
    for (int t = 0; t < kTokens; ++t) {  // rows of all magnitudes, some zero, some not finite
      for (int k = 0; k < n_cols; ++k) x[t * n_cols + k] *= std::ldexp(1.0f, 8 * t - 160);
    }
    x[0] = kNan;
    x[n_cols] = -kInfinity;
    const std::vector<A8Block> blocks = compare_quantize_a8(generic, isa, x, {39, 1});
    EXPECT_TRUE(std::isnan(blocks[0].scale));
    EXPECT_TRUE(std::isnan(blocks[1].scale));
  }
  // Many blocks, and a part of one, of few rows.
  for (const int n_rows : {1, 3}) {
    compare_quantize_a8(generic, isa, random_floats(n_rows * 1100, random), {n_rows});
  }
}

struct Shape {
  std::int64_t n_rows;
  std::int64_t n_cols;
};
constexpr Shape kShapes[] = {{1, 32}, {16, 32}, {17, 96}, {35, 288}, {48, 544}, {5, 20}, {20, 300}};
constexpr std::int64_t kTokenCounts[] = {1, 2, 3, 4, 5, 6, 7, 9, 15, 32, 37, 70};
constexpr Shape kManyTokensShape = {17,
                                    96};  // also with more tokens than most kernels take at once
constexpr std::int64_t kManyTokens = 150;

// `short_set`: of encodings with the same kernel one, and of the ways to cut tokens one each.
template <typename Args, typename MakeArgs>
void compare_linear(Kernel<Args> generic, Kernel<Args> isa, bool dense, MakeArgs make_args,
                    bool short_set = false) {
  std::mt19937 random(12);
  for (const EncodingSpec& spec : kEncodingTable) {
    if (spec.dense() && !dense) continue;
    if (short_set && kernel_form(spec.encoding) != spec.encoding) continue;
    for (const auto [n_rows, n_cols] : kShapes) {
      const Weights weights = random_weights(spec.encoding, n_rows, n_cols, random);
      std::vector<std::int64_t> token_counts(std::begin(kTokenCounts), std::end(kTokenCounts));
      if (n_rows == kManyTokensShape.n_rows) token_counts.push_back(kManyTokens);
      if (short_set) token_counts = {1, 11};
      for (std::int64_t n_tokens : token_counts) {
        SCOPED_TRACE(testing::Message()
                     << spec.name << " " << n_rows << "x" << n_cols << ", tokens " << n_tokens);
        const Activations x = random_activations(n_tokens, n_cols, random);
        for (bool accumulate : {false, true}) {
          if (kSanitized && accumulate == (n_tokens % 2 == 0)) continue;
          std::vector<float> expected = random_floats(n_tokens * n_rows, random);
          std::vector<float> found = expected;
          Args args = make_args(weights, x, expected.data());
          args.accumulate = accumulate;
          generic(args);
          args.out = found.data();
          isa(args);
          expect_same(expected, found);
          if (testing::Test::HasFatalFailure()) return;
        }
      }
    }
  }
}

// More panels, and more tokens, than any kernel takes at once, of one block a group and of two.
void compare_large(Kernel<LinearA8Args> generic, Kernel<LinearA8Args> isa) {
  constexpr std::int64_t kRows = 70, kCols = 288, kTokens = 520;
  std::mt19937 random(14);
  const Activations x = random_activations(kTokens, kCols, random);
  for (const Encoding encoding : {Encoding::kQ4, Encoding::kQ4KMin}) {
    const Weights weights = random_weights(encoding, kRows, kCols, random);
    std::vector<float> expected(kRows * kTokens), found(kRows * kTokens);
    generic(a8_args(weights, x, expected.data()));
    isa(a8_args(weights, x, found.data()));
    SCOPED_TRACE(encoding_spec(encoding).name);
    expect_same(expected, found);
  }
}

void compare(Kernel<LinearA8Args> generic, Kernel<LinearA8Args> isa) {
  compare_linear(generic, isa, false, a8_args);
  compare_large(generic, isa);
  // Activations of all magnitudes: zeros, from 2^-100 to 2^100, and not finite.
  std::mt19937 random(13);
  constexpr std::int64_t kTokens = 28, kCols = 96;
  auto x = random_floats(kTokens * kCols, random);
  for (int t = 0; t < kTokens; ++t) {
    for (int k = 0; k < kCols; ++k) x[t * kCols + k] *= std::ldexp(1.0f, 8 * t - 108);
  }
  const Activations a = activations_of(std::move(x), kTokens, kCols);
  for (const EncodingSpec& spec : kEncodingTable) {
    if (spec.dense() || kernel_form(spec.encoding) != spec.encoding) continue;
    const Weights weights = random_weights(spec.encoding, 17, kCols, random);
    std::vector<float> expected(17 * kTokens), found(17 * kTokens);
    generic(a8_args(weights, a, expected.data()));
    isa(a8_args(weights, a, found.data()));
    SCOPED_TRACE(spec.name);
    expect_same(expected, found);
  }
}

void compare(Kernel<LinearA16Args> generic, Kernel<LinearA16Args> isa) {
  compare_linear(generic, isa, true, a16_args);
}

void compare(Kernel<RmsNormArgs> generic, Kernel<RmsNormArgs> isa) {
  std::mt19937 random(13);
  for (std::int64_t n_cols : kWidths) {
    const auto x = random_floats(3 * n_cols, random, 5.0f);
    const auto weight = random_floats(n_cols, random);
    std::vector<float> expected(3 * n_cols), found(3 * n_cols);
    generic({x.data(), n_cols, 3, n_cols, weight.data(), 1e-5f, expected.data(), n_cols});
    isa({x.data(), n_cols, 3, n_cols, weight.data(), 1e-5f, found.data(), n_cols});
    expect_same(expected, found);
  }
}

void compare(Kernel<HadamardArgs> generic, Kernel<HadamardArgs> isa) {
  std::mt19937 random(21);
  for (std::int64_t block : {1, 2, 4, 8, 16, 32, 64, 128, 1024, 8192}) {
    const std::int64_t n_cols = 3 * block;
    const auto x =
        block < 64 ? awkward_floats(2 * n_cols, random) : random_floats(2 * n_cols, random, 3.0f);
    std::vector<float> signs(n_cols);
    for (float& sign : signs) sign = random() % 2 == 0 ? 1.0f : -1.0f;
    for (bool inverse : {false, true}) {
      std::vector<float> expected(2 * n_cols), found(x);
      generic({x.data(), n_cols, 2, n_cols, block, signs.data(), inverse, expected.data(), n_cols});
      isa({found.data(), n_cols, 2, n_cols, block, signs.data(), inverse, found.data(), n_cols});
      expect_same(expected, found);
    }
  }
}

void compare(Kernel<RopeArgs> generic, Kernel<RopeArgs> isa) {
  std::mt19937 random(14);
  for (std::int64_t head_dim : {2, 8, 14, 16, 30, 64, 128}) {
    const auto cos = random_floats(3 * head_dim / 2, random);
    const auto sin = random_floats(3 * head_dim / 2, random);
    const std::int64_t stride = 5 * head_dim + 3;  // two heads in a wider buffer
    auto expected = random_floats(3 * stride, random);
    auto found = expected;
    generic({expected.data(), stride, 3, 2, head_dim, cos.data(), sin.data()});
    isa({found.data(), stride, 3, 2, head_dim, cos.data(), sin.data()});
    expect_same(expected, found);
  }
}

void compare(Kernel<SwiGluArgs> generic, Kernel<SwiGluArgs> isa) {
  std::mt19937 random(15);
  for (std::int64_t width : kWidths) {
    const auto x = awkward_floats(3 * 2 * width, random);
    std::vector<float> expected(3 * width), found(3 * width);
    generic({x.data(), x.data() + width, 2 * width, 3, width, expected.data(), width});
    isa({x.data(), x.data() + width, 2 * width, 3, width, found.data(), width});
    expect_same(expected, found);
  }
}

void compare(Kernel<UnaryArgs> generic, Kernel<UnaryArgs> isa) {
  std::mt19937 random(16);
  for (int round = 0; round < 20; ++round) {
    for (std::int64_t n : kWidths) {
      const auto x = round % 2 == 0 ? awkward_floats(n, random) : random_floats(n, random, 3.0f);
      std::vector<float> expected(n), found(x);
      generic({x.data(), expected.data(), n});
      isa({found.data(), found.data(), n});
      expect_same(expected, found);
    }
  }
}

void compare(Kernel<BinaryArgs> generic, Kernel<BinaryArgs> isa) {
  std::mt19937 random(17);
  for (std::int64_t n : kWidths) {
    const auto x = awkward_floats(n, random);
    const auto y = awkward_floats(n, random);
    std::vector<float> expected(n), found(y);
    generic({x.data(), y.data(), expected.data(), n});
    isa({x.data(), found.data(), found.data(), n});
    expect_same(expected, found);
  }
}

void compare(Kernel<StoreF16Args> generic, Kernel<StoreF16Args> isa) {
  std::mt19937 random(18);
  for (std::int64_t n : kWidths) {
    auto x = awkward_floats(n, random);
    x[0] = kNan;
    std::vector<std::uint16_t> expected(n), found(n);
    generic({x.data(), expected.data(), n});
    isa({x.data(), found.data(), n});
    EXPECT_EQ(expected, found);
  }
}

[[maybe_unused]] void compare(Kernel<StoreQ8Args> generic, Kernel<StoreQ8Args> isa) {
  std::mt19937 random(20);
  for (std::int64_t head_dim : {32, 64, 96, 256}) {
    const auto x = random_floats(head_dim, random);
    for (bool is_value : {false, true}) {
      std::vector<std::byte> panels[2];
      for (int i = 0; i < 2; ++i) {
        panels[i].resize(static_cast<std::size_t>(kv_panel_bytes(head_dim)));
        for (std::int64_t position = 0; position < kKvPanel; ++position) {
          (i == 0 ? generic : isa)({x.data(), head_dim, position, panels[i].data(), is_value});
        }
      }
      EXPECT_EQ(panels[0], panels[1]) << head_dim;
    }
  }
}

struct AttentionCase {
  std::int64_t n_tokens;
  std::int64_t n_heads;
  std::int64_t head_dim;
  std::int64_t first;  // position
  float q_size = 2.0f;
  std::int64_t bad_key = -1;  // a position whose key is not a number
  // The largest values of positions differ: with large queries, which leave one or two positions a
  // weight, codes of a tile have from 7 to 14 bits.
  bool uneven_values = false;
};

void compare_attention(Kernel<AttentionArgs> generic, Kernel<AttentionArgs> isa, KvType k_type,
                       KvType v_type, const AttentionCase& c,
                       CacheScales scales = CacheScales::kOfHead) {
  std::mt19937 random(static_cast<unsigned>(19 + c.first));
  const std::int64_t n_cache = (c.first + c.n_tokens) * c.head_dim;
  std::vector<float> keys = random_floats(n_cache, random);
  if (c.bad_key >= 0) keys[c.bad_key * c.head_dim] = kNan;
  const std::byte rest{0x7f};
  const KvHead k = kv_head(k_type, keys, c.head_dim, false, rest, scales);
  std::vector<float> values = random_floats(n_cache, random);
  for (std::int64_t i = 0; c.uneven_values && i < n_cache; ++i) {
    values[i] = std::ldexp(values[i], static_cast<int>(-(i / c.head_dim * 5 % 8)));
  }
  const KvHead v = kv_head(v_type, values, c.head_dim, true, rest, scales);
  const std::int64_t width = c.n_heads * c.head_dim;
  const auto q = random_floats(c.n_tokens * width, random, c.q_size);
  std::vector<float> expected(q.size()), found(q.size());
  AttentionArgs args = {q.data(), width,           c.n_tokens,     c.n_heads,      c.head_dim,
                        k_type,   v_type,          k.bytes.data(), v.bytes.data(), c.first,
                        0.125f,   expected.data(), width};
  generic(args);
  args.out = found.data();
  isa(args);
  SCOPED_TRACE(testing::Message() << kv_type_name(k_type) << " " << kv_type_name(v_type)
                                  << ", tokens " << c.n_tokens << ", heads " << c.n_heads << " of "
                                  << c.head_dim << ", from position " << c.first << ", scales "
                                  << static_cast<int>(scales));
  expect_same(expected, found);
}

// More rows than any kernel takes together, which is most with int8.
constexpr AttentionCase kManyRowsCase = {130, 4, 64, 120};

// Kernels take rows (tokens times heads) together and positions in tiles of 128.
constexpr AttentionCase kAttentionCases[] = {
    {1, 1, 64, 200},  // one row, two rows: too few for half floats to be made floats first
    {1, 2, 64, 200},
    {2, 1, 96, 126},   // the second token sees a whole tile, the first one position less
    {24, 4, 64, 242},  // more rows than most kernels take, of which some see one tile more
    {24, 3, 96, 114},
    {9, 4, 64, 242, 100.0f},  // scores from 0 to below the lowest that has a weight
    {9, 4, 64, 242, 1e6f},    // scores with few bits left for their weights
    {9, 4, 64, 242, 1e9f},    // and none
    {24, 4, 64, 242, 2.0f, 250},
    {24, 4, 64, 242, 100.0f, -1, true},
};

[[maybe_unused]] void compare(Kernel<AttentionArgs> generic, Kernel<AttentionArgs> isa) {
  std::vector<AttentionCase> cases(std::begin(kAttentionCases), std::end(kAttentionCases));
  for (std::int64_t head_dim : {6, 8, 24, 32, 64, 80, 96, 128, 256}) {
    for (std::int64_t n_heads :
         {1, 3, 4}) {  // 4: with 9 tokens, more than a kernel takes at a time
      for (std::int64_t first : {0, 3, 62, 200}) cases.push_back({9, n_heads, head_dim, first});
    }
  }
  compare_attention(generic, isa, KvType::kQ8, KvType::kQ8, kManyRowsCase);
  for (CacheScales scales : {CacheScales::kOfBlock, CacheScales::kMixed}) {
    for (const AttentionCase& c : kAttentionCases) {
      compare_attention(generic, isa, KvType::kQ8, KvType::kQ8, c, scales);
    }
    for (std::int64_t head_dim : {32, 64, 96, 128, 256}) {
      compare_attention(generic, isa, KvType::kQ8, KvType::kQ8, {9, 4, head_dim, 200}, scales);
    }
  }
  for (const AttentionCase& c : cases) {
    for (KvType k : {KvType::kF16, KvType::kQ8}) {
      for (KvType v : {KvType::kF16, KvType::kQ8}) {
        if (!kv_type_fits(k, c.head_dim) || !kv_type_fits(v, c.head_dim)) continue;
        compare_attention(generic, isa, k, v, c);
      }
    }
  }
}

#if defined(CRIA_HAVE_AVX2)
#define CRIA_AVX2_KERNEL(op, Args)                                                      \
  TEST(Avx2EqualsGeneric, op) {                                                         \
    if (!cpu_supports(Isa::kAvx2)) GTEST_SKIP() << "NOT TESTED: no AVX2 here: " << #op; \
    compare(op##_generic, op##_avx2);                                                   \
  }
#include "kernels/kernels.inc"
#endif

#if defined(CRIA_HAVE_AVX512VNNI)
#define CRIA_AVX512VNNI_KERNEL(op, Args)                                                         \
  TEST(Avx512VnniEqualsGeneric, op) {                                                            \
    if (!cpu_supports(Isa::kAvx512Vnni)) GTEST_SKIP() << "NOT TESTED: no AVX-512 here: " << #op; \
    compare(op##_generic, op##_avx512vnni);                                                      \
  }
#include "kernels/kernels.inc"
#endif

#if defined(CRIA_HAVE_AVX512VNNI_EMULATED)
// In terms of lesser instructions kernels are slow.
template <typename Args>
void compare_emulated(Kernel<Args> generic, Kernel<Args> isa) {
  compare(generic, isa);
}

void compare_emulated(Kernel<LinearA16Args> generic, Kernel<LinearA16Args> isa) {
  compare_linear(generic, isa, true, a16_args, true);
}

#define CRIA_AVX512VNNI_KERNEL(op, Args)                                                \
  TEST(EmulatedAvx512VnniEqualsGeneric, op) {                                           \
    if (!cpu_supports(Isa::kAvx2)) GTEST_SKIP() << "NOT TESTED: no AVX2 here: " << #op; \
    compare_emulated(op##_generic, op##_avx512vnni_emulated);                           \
  }
#include "kernels/kernels.inc"
#endif

#if defined(CRIA_HAVE_AMX_INT8)
#define CRIA_AMX_INT8_KERNEL(op, Args)                                                    \
  TEST(AmxInt8EqualsGeneric, op) {                                                        \
    if (!cpu_supports(Isa::kAmxInt8)) GTEST_SKIP() << "NOT TESTED: no AMX here: " << #op; \
    compare(op##_generic, op##_amx_int8);                                                 \
  }
#include "kernels/kernels.inc"
#endif

#if defined(CRIA_HAVE_AVX512VNNI_EMULATED)
#define CRIA_AMX_INT8_KERNEL(op, Args)                                                  \
  TEST(EmulatedAmxInt8EqualsGeneric, op) {                                              \
    if (!cpu_supports(Isa::kAvx2)) GTEST_SKIP() << "NOT TESTED: no AVX2 here: " << #op; \
    compare(op##_generic, op##_amx_int8_emulated);                                      \
  }
#include "kernels/kernels.inc"
#endif

#if defined(CRIA_HAVE_NEON_DOTPROD)
#define CRIA_NEON_DOTPROD_KERNEL(op, Args)                                                        \
  TEST(NeonDotprodEqualsGeneric, op) {                                                            \
    if (!cpu_supports(Isa::kNeonDotprod)) GTEST_SKIP() << "NOT TESTED: no dotprod here: " << #op; \
    compare(op##_generic, op##_neon_dotprod);                                                     \
  }
#include "kernels/kernels.inc"
#endif

#if defined(CRIA_HAVE_NEON_I8MM)
#define CRIA_NEON_I8MM_KERNEL(op, Args)                                                     \
  TEST(NeonI8mmEqualsGeneric, op) {                                                         \
    if (!cpu_supports(Isa::kNeonI8mm)) GTEST_SKIP() << "NOT TESTED: no i8mm here: " << #op; \
    compare(op##_generic, op##_neon_i8mm);                                                  \
  }
#include "kernels/kernels.inc"
#endif

TEST(Dispatch, TablesAreCompleteAndGenericIsTheFallback) {
  for (Isa isa : kAllIsas) {
    const Kernels& kernels = kernels_for(isa);
#define CRIA_GENERIC_KERNEL(op, Args) EXPECT_NE(kernels.op, nullptr) << isa_name(isa);
#include "kernels/kernels.inc"
  }
  EXPECT_EQ(kernels_for(Isa::kGeneric).linear_a8, linear_a8_generic);
#if defined(CRIA_HAVE_AVX2)
  EXPECT_EQ(kernels_for(Isa::kAvx2).linear_a8, linear_a8_avx2);
#endif
#if defined(CRIA_HAVE_NEON_DOTPROD)
  EXPECT_EQ(kernels_for(Isa::kNeonDotprod).linear_a8, linear_a8_neon_dotprod);
#endif
#if defined(CRIA_HAVE_NEON_I8MM)
  EXPECT_EQ(kernels_for(Isa::kNeonI8mm).linear_a8, linear_a8_neon_i8mm);
  EXPECT_EQ(kernels_for(Isa::kNeonI8mm).rope, rope_neon_dotprod) << "no line of its own";
#endif
}

}  // namespace
}  // namespace cria
