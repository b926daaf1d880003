#include "delegates/cpu/sparse_linear.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/test_data.h"

namespace cria {
namespace {

using namespace test_data;

// A matrix of which some blocks are zero, and the same without them.
struct Pair {
  Weights full;
  AlignedBuffer dropped;
  std::optional<ZeroBlocksView> view;
};

Pair random_pair(Encoding encoding, std::int64_t n_rows, std::int64_t n_cols, unsigned share,
                 std::mt19937& random) {
  Pair pair = {random_weights(encoding, n_rows, n_cols, random), {}, {}};
  const PanelLayout layout = panel_layout(encoding, n_cols);
  const EncodingSpec spec = encoding_spec(encoding);
  KeptBlocks blocks = {(n_rows + kPanelRows - 1) / kPanelRows, a8_blocks(n_cols), {}};
  for (std::int64_t i = 0; i < blocks.n_panels * blocks.n_groups; ++i) {
    blocks.kept.push_back(random() % 100 < share);
    if (blocks.kept.back() != 0) continue;
    const auto panel = static_cast<std::size_t>(i / blocks.n_groups);
    const std::int64_t group = i % blocks.n_groups;
    std::byte* at = pair.full.packed.data() + panel * layout.size_bytes;
    std::memset(at + spec.scales_offset(group, 0), 0, static_cast<std::size_t>(spec.scale_bytes()));
    if (spec.scale == ScaleKind::kE8M0) {  // has no zero; the codes have
      std::memset(at + spec.codes_offset(group, 0), 0,
                  static_cast<std::size_t>(spec.group_bytes()));
    }
  }
  std::vector<std::byte> bytes = zero_blocks_index(encoding, blocks);
  for (std::int64_t p = 0; p < blocks.n_panels; ++p) {
    drop_zero_blocks(encoding, {pair.full.panel(p), layout.size_bytes}, blocks.of_panel(p), bytes);
  }
  pair.dropped = AlignedBuffer::allocate(bytes.size()).value();
  std::memcpy(pair.dropped.data(), bytes.data(), bytes.size());
  pair.view = ZeroBlocksView::open(encoding, n_rows, n_cols, pair.dropped.bytes()).value();
  return pair;
}

bool same_or_both_nan(const std::vector<float>& a, const std::vector<float>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] != b[i] && !(std::isnan(a[i]) && std::isnan(b[i]))) return false;
  }
  return true;
}

void compare(const Pair& pair, const Activations& x, Isa isa, std::mt19937& random) {
  const Kernels& kernels = kernels_for(isa);
  for (bool accumulate : {false, true}) {
    const auto start = random_floats(x.n_tokens * pair.full.n_rows, random);
    std::vector<float> expected = start, found = start;
    LinearA8Args a8 = a8_args(pair.full, x, expected.data());
    a8.accumulate = accumulate;
    kernels.linear_a8(a8);
    a8.out = found.data();
    a8.panels = nullptr;
    sparse_linear_a8(kernels, *pair.view, 0, a8);
    EXPECT_TRUE(same_or_both_nan(expected, found)) << "a8, " << isa_name(isa);
    expected = found = start;
    LinearA16Args a16 = a16_args(pair.full, x, expected.data());
    a16.accumulate = accumulate;
    kernels.linear_a16(a16);
    a16.out = found.data();
    a16.panels = nullptr;
    sparse_linear_a16(kernels, *pair.view, 0, a16);
    EXPECT_TRUE(same_or_both_nan(expected, found)) << "a16, " << isa_name(isa);
  }
}

TEST(SparseLinear, EqualsTheMatrixInFull) {
  std::mt19937 random(31);
  for (const EncodingSpec& spec : kEncodingTable) {
    if (!can_drop_zero_blocks(spec.encoding, 300)) continue;
    for (unsigned share : {0u, 10u, 50u, 100u}) {
      SCOPED_TRACE(testing::Message() << spec.name << ", " << share << " % kept");
      const Pair pair = random_pair(spec.encoding, 39, 300, share, random);
      for (std::int64_t n_tokens : {1, 3, 37}) {
        const Activations x = random_activations(n_tokens, 300, random);
        for (Isa isa : {Isa::kGeneric, best_isa()}) compare(pair, x, isa, random);
      }
    }
  }
}

// Zero times infinity is not a number, in blocks that are not stored as well.
TEST(SparseLinear, WhatIsNotFiniteIsNotLost) {
  std::mt19937 random(32);
  const Pair pair = random_pair(Encoding::kQ4, 32, 256, 30, random);
  for (float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    auto x = random_floats(2 * 256, random);
    x[100] = bad;
    compare(pair, activations_of(x, 2, 256), best_isa(), random);
  }
}

TEST(SparseLinear, PanelsInTheMiddle) {
  std::mt19937 random(33);
  const Pair pair = random_pair(Encoding::kQ8, 64, 256, 50, random);
  const Activations x = random_activations(2, 256, random);
  std::vector<float> whole(2 * 64), part(2 * 16);
  LinearA8Args args = a8_args(pair.full, x, whole.data());
  const Kernels& kernels = kernels_for(best_isa());
  kernels.linear_a8(args);
  args.out = part.data();
  args.out_stride = 16;
  args.n_rows = 16;
  sparse_linear_a8(kernels, *pair.view, 2, args);
  for (int i = 0; i < 32; ++i) EXPECT_EQ(part[i], whole[i / 16 * 64 + 32 + i % 16]);
}

}  // namespace
}  // namespace cria
