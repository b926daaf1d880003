#include "format/plan/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <limits>

#include "format/plan/plan_example.h"

namespace cria {
namespace {

using ::testing::HasSubstr;
using Change = std::function<void(Plan&)>;

TEST(Plan, RoundTrip) {
  const Plan plan = example_plan();
  ASSERT_TRUE(verify_plan(plan).ok()) << verify_plan(plan).message();
  const Result<Plan> again = decode_plan(encode_plan(plan), "plan");
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_EQ(*again, plan);
}

TEST(Plan, EveryOpKindHasANameOfItsOwn) {
  std::vector<std::string> names;
  for (int kind = 0; kind < kPlanOpKindCount; ++kind) {
    const std::string name = plan_op_name(static_cast<PlanOpKind>(kind));
    EXPECT_THAT(names, ::testing::Not(::testing::Contains(name)));
    names.push_back(name);
  }
}

TEST(Plan, BuffersMayShareMemoryOneAfterTheOther) {
  Plan plan = example_plan();
  plan.buffers[4].offset_bytes = plan.buffers[2].offset_bytes;  // gate_up over qkv and attention
  EXPECT_TRUE(verify_plan(plan).ok()) << verify_plan(plan).message();
}

TEST(Plan, OneWeightMayServeTwoOps) {
  Plan plan = example_plan();
  plan.weights.push_back(plan.weights[0]);
  plan.ops[15].weights = {8};
  EXPECT_TRUE(verify_plan(plan).ok()) << verify_plan(plan).message();
}

struct Rule {
  const char* name;
  Change change;
  const char* message;
};

void PrintTo(const Rule& rule, std::ostream* out) { *out << rule.name; }

class PlanRule : public ::testing::TestWithParam<Rule> {};

// What verify_plan refuses, decode_plan refuses too: a broken plan cannot arrive through a file.
TEST_P(PlanRule, IsEnforced) {
  Plan plan = example_plan();
  GetParam().change(plan);
  const Status status = verify_plan(plan);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.code(), ErrorCode::kBadInput);
  EXPECT_THAT(status.message(), HasSubstr(GetParam().message));
  const Result<Plan> decoded = decode_plan(encode_plan(plan), "model.pte: prefill");
  ASSERT_FALSE(decoded.ok());
  EXPECT_THAT(decoded.status().message(), HasSubstr("model.pte: prefill"));
}

constexpr std::int64_t kHuge = std::numeric_limits<std::int64_t>::max();
constexpr std::int32_t kHuge32 = std::numeric_limits<std::int32_t>::max();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

const Rule kPlanRules[] = {
    {"max_tokens_zero", [](Plan& p) { p.max_tokens = 0; }, "max_tokens"},
    {"max_tokens_huge", [](Plan& p) { p.max_tokens = kHuge; }, "max_tokens"},
    {"n_vocab_negative", [](Plan& p) { p.n_vocab = -1; }, "n_vocab"},
    {"scratch_huge", [](Plan& p) { p.scratch_bytes = ~std::uint64_t{0}; }, "scratch_bytes"},
    {"kv_partly_zero", [](Plan& p) { p.kv.n_layers = 0; }, "kv cache"},
    {"kv_huge", [](Plan& p) { p.kv.n_kv_heads = kHuge32; }, "kv cache"},
    {"kv_q8_head", [](Plan& p) { p.kv.k_type = KvType::kQ8; }, "expected a multiple of 32"},
    {"kv_odd_head", [](Plan& p) { p.kv.head_dim = 15; }, "even head_dim"},
    {"too_many_ops", [](Plan& p) { p.ops.resize(20000, p.ops[0]); }, "20000 ops"},
    {"too_many_buffers", [](Plan& p) { p.buffers.resize(5000, p.buffers[0]); }, "5000 buffers"},
    {"too_many_weights", [](Plan& p) { p.weights.resize(20000, p.weights[0]); }, "20000 weights"},
    {"weight_without_key", [](Plan& p) { p.weights[0].key.clear(); }, "key has 0 bytes"},
    {"weight_long_key", [](Plan& p) { p.weights[0].key.assign(2000, 'k'); }, "key has 2000 bytes"},
    {"weight_no_rows", [](Plan& p) { p.weights[2].n_rows = 0; }, "'q' is [0, 64]"},
    {"weight_huge", [](Plan& p) { p.weights[2].n_cols = kHuge; }, "'q' is [64,"},
    {"weight_encoding", [](Plan& p) { p.weights[2].encoding = Encoding{99}; }, "encoding 99"},
    {"vector_rows", [](Plan& p) { p.weights[1].n_rows = 2; }, "'norm' is not packed"},
    {"vector_f16", [](Plan& p) { p.weights[1].encoding = Encoding::kF16; }, "'norm' is not packed"},
    {"weight_twice", [](Plan& p) { p.weights[5].key = p.weights[2].key; }, "described twice"},
    {"buffer_name", [](Plan& p) { p.buffers[0].name.assign(2000, 'n'); }, "name has 2000"},
    {"buffer_width_zero", [](Plan& p) { p.buffers[0].width = 0; }, "'h' has width 0"},
    {"buffer_width_huge", [](Plan& p) { p.buffers[0].width = kHuge; }, "'h' has width"},
    {"buffer_alignment", [](Plan& p) { p.buffers[0].offset_bytes = 32; }, "multiple of 64"},
    {"buffer_outside", [](Plan& p) { p.scratch_bytes -= 1; }, "'logits' needs 512 bytes"},
    {"buffer_offset_wraps", [](Plan& p) { p.buffers[0].offset_bytes = ~std::uint64_t{63}; },
     "the scratch area has"},
};
INSTANTIATE_TEST_SUITE_P(Parts, PlanRule, ::testing::ValuesIn(kPlanRules),
                         [](const auto& param) { return param.param.name; });

const Rule kOpRules[] = {
    {"kind", [](Plan& p) { p.ops[0].kind = PlanOpKind{77}; }, "op 0 has kind 77"},
    {"operand_missing", [](Plan& p) { p.ops[1].x = kNoBuffer; }, "op 1 (rms_norm): operand x"},
    {"operand_outside", [](Plan& p) { p.ops[1].out = 11; }, "is buffer 11, the plan has 11"},
    {"operand_unexpected", [](Plan& p) { p.ops[3].x = 2; }, "expected none"},
    {"weight_missing", [](Plan& p) { p.ops[2].weights.clear(); }, "has 0 weights"},
    {"weight_unexpected", [](Plan& p) { p.ops[10].weights = {0}; }, "has 1 weights"},
    {"weight_outside", [](Plan& p) { p.ops[2].weights[1] = 8; }, "uses weight 8"},
    {"vector_for_matrix", [](Plan& p) { p.ops[2].weights[0] = 1; }, "expected a packed matrix"},
    {"matrix_for_vector", [](Plan& p) { p.ops[1].weights[0] = 2; }, "expected a plain vector"},
    {"accumulate", [](Plan& p) { p.ops[10].accumulate = true; }, "only linear can"},
    {"epsilon_nan", [](Plan& p) { p.ops[1].epsilon = kNan; }, "finite"},
    {"epsilon_negative", [](Plan& p) { p.ops[1].epsilon = -1; }, "not negative"},
    {"scale_infinite", [](Plan& p) { p.ops[5].scale = kInfinity; }, "finite"},
    {"scale_negative", [](Plan& p) { p.ops[5].scale = -0.125f; }, "not negative"},
    {"embed_rows", [](Plan& p) { p.weights[0].n_rows = 127; }, "table 'embed' is [127, 64]"},
    {"embed_single_row", [](Plan& p) { p.buffers[0].single_row = true; }, "a row a token"},
    {"norm_width", [](Plan& p) { p.weights[1].n_cols = 63; }, "63 columns, expected 64"},
    {"norm_rows", [](Plan& p) { p.buffers[1].single_row = true; }, "differ"},
    {"linear_columns", [](Plan& p) { p.weights[3].n_cols = 32; }, "has 32 columns"},
    {"linear_too_wide", [](Plan& p) { p.weights[3].n_rows = 65; }, "writes 129 columns"},
    {"linear_column", [](Plan& p) { p.ops[2].column = 1; }, "128 columns from 1"},
    {"linear_column_huge", [](Plan& p) { p.ops[2].column = kHuge; }, "128 columns from"},
    {"linear_column_negative", [](Plan& p) { p.ops[2].column = -1; }, "128 columns from -1"},
    {"linear_rows", [](Plan& p) { p.ops[15].x = 8; }, "differ"},
    {"rope_frequencies", [](Plan& p) { p.weights[4].n_cols = 9; }, "9 frequencies, expected 8"},
    {"rope_heads", [](Plan& p) { p.ops[3].n_heads = 9; }, "144 columns from 0"},
    {"rope_heads_zero", [](Plan& p) { p.ops[3].n_heads = 0; }, "0 heads"},
    {"rope_heads_huge", [](Plan& p) { p.ops[3].n_heads = kHuge32; }, "heads, expected 1 to"},
    {"rope_column", [](Plan& p) { p.ops[3].column = 33; }, "96 columns from 33"},
    {"rope_without_heads", [](Plan& p) { p.kv = {}; }, "head_dim is 0"},
    {"append_layer", [](Plan& p) { p.ops[4].layer = 1; }, "layer 1, the cache has 1"},
    {"append_layer_negative", [](Plan& p) { p.ops[4].layer = -1; }, "layer -1"},
    {"append_keys", [](Plan& p) { p.ops[4].column = 97; }, "32 columns from 97"},
    {"append_values", [](Plan& p) { p.ops[4].column_v = -1; }, "32 columns from -1"},
    {"attention_layer", [](Plan& p) { p.ops[5].layer = 1; }, "layer 1"},
    {"attention_before_append", [](Plan& p) { p.ops.erase(p.ops.begin() + 4); },
     "before its keys and values"},
    {"attention_column", [](Plan& p) { p.ops[5].column = 65; }, "64 columns from 65"},
    {"attention_group", [](Plan& p) { p.ops[5].n_heads = 3; }, "multiple of the 2"},
    {"attention_width", [](Plan& p) { p.ops[5].n_heads = 2; }, "width 64, expected 32"},
    {"swiglu_width", [](Plan& p) { p.buffers[5].width = 95; }, "expected twice 95"},
    {"swiglu_rows", [](Plan& p) { p.buffers[5].single_row = true; }, "differ"},
    {"add_width", [](Plan& p) { p.ops[10].y = 2; }, "widths 64 and 128"},
    {"mul_rows", [](Plan& p) { p.buffers[7].single_row = true; }, "differ"},
    {"silu_width", [](Plan& p) { p.ops[11].x = 5; }, "width 64, expected equal"},
    {"last_row_of_row", [](Plan& p) { p.buffers[8].single_row = true; }, "op 12 (mul)"},
    {"last_row_result", [](Plan& p) { p.scratch_bytes *= 2, p.buffers[9].single_row = false; },
     "expected a single row"},
    {"hadamard_block", [](Plan& p) { p.ops[13].block = 24; }, "blocks of 24"},
    {"hadamard_block_zero", [](Plan& p) { p.ops[13].block = 0; }, "blocks of 0"},
    {"hadamard_block_negative", [](Plan& p) { p.ops[13].block = -64; }, "blocks of -64"},
    {"hadamard_block_wide", [](Plan& p) { p.ops[13].block = 128; }, "blocks of 128"},
    {"hadamard_signs", [](Plan& p) { p.ops[13].weights = {4}; }, "has 8 signs, expected 64"},
    {"hadamard_width", [](Plan& p) { p.ops[13].x = 4; }, "expected equal shapes"},
    {"block_elsewhere", [](Plan& p) { p.ops[12].block = 64; }, "which only hadamard has"},
    {"output_width", [](Plan& p) { p.ops[16].x = 9; }, "expected n_vocab = 128"},
    {"output_missing", [](Plan& p) { p.ops.pop_back(); }, "0 output ops"},
    {"output_twice", [](Plan& p) { p.ops.push_back(p.ops[16]); }, "2 output ops"},
    {"output_not_last", [](Plan& p) { p.ops.push_back(p.ops[0]); }, "as its last op"},
    {"no_ops", [](Plan& p) { p.ops.clear(); }, "0 output ops"},
    {"reads_nothing", [](Plan& p) { p.ops.erase(p.ops.begin() + 2); }, "no earlier op wrote"},
    {"reads_overwritten", [](Plan& p) { p.buffers[4].offset_bytes = p.buffers[1].offset_bytes; },
     "op 10 (add): reads buffer 'normed'"},
    {"writes_over_input", [](Plan& p) { p.ops[11].out = 6; }, "over its input 'sum'"},
    {"writes_partly_over_input",
     [](Plan& p) { p.buffers[7].offset_bytes = p.buffers[6].offset_bytes + 64; },
     "'silu' over its input 'sum'"},
};
INSTANTIATE_TEST_SUITE_P(Ops, PlanRule, ::testing::ValuesIn(kOpRules),
                         [](const auto& param) { return param.param.name; });

// Ops 5 to 10: scores of both heads, then softmax and mix of each.
const Rule kSplitRules[] = {
    {"a layer's cache comes first", [](Plan& p) { p.ops.erase(p.ops.begin() + 4); },
     "before its keys and values"},
    {"heads", [](Plan& p) { p.ops[6].kv_head = 2; }, "heads [2, +1), the cache has 2"},
    {"negative head", [](Plan& p) { p.ops[6].kv_head = -1; }, "heads [-1, +1)"},
    {"no heads", [](Plan& p) { p.ops[5].n_kv_heads = 0; }, "heads [0, +0)"},
    {"query heads", [](Plan& p) { p.ops[5].n_kv_heads = 2, p.ops[5].n_heads = 3; },
     "3 query heads, expected a multiple of the 2"},
    {"records", [](Plan& p) { p.ops[7].block = 1; }, "has 1 records a head, earlier ops 2"},
    {"records beyond any context",
     [](Plan& p) {
       for (int i = 5; i <= 10; ++i) p.ops[i].block = kHuge;
     },
     "with 9223372036854775807 records"},
    {"row", [](Plan& p) { p.buffers[11].width -= 1; }, "has score rows of 2 heads"},
    {"row per token", [](Plan& p) { p.buffers[11].single_row = true; }, "row a token"},
    {"query columns", [](Plan& p) { p.ops[6].column = 97; }, "32 columns from 97"},
    {"result", [](Plan& p) { p.ops[8].out = 2; }, "has width 128, expected 64"},
    {"first heads first", [](Plan& p) { p.ops.erase(p.ops.begin() + 8); },
     "reads buffer 'attention'"},
    {"part of attention alone", [](Plan& p) { p.ops[12].n_kv_heads = 1; },
     "which only scores, softmax and mix have"},
};

TEST(PlanSplitRules, AreEnforced) {
  ASSERT_TRUE(verify_plan(example_split_plan()).ok())
      << verify_plan(example_split_plan()).message();
  EXPECT_EQ(*decode_plan(encode_plan(example_split_plan()), "plan"), example_split_plan());
  EXPECT_EQ(example_split_plan().score_positions(), 256);
  for (const Rule& rule : kSplitRules) {
    Plan plan = example_split_plan();
    rule.change(plan);
    const Status status = verify_plan(plan);
    EXPECT_FALSE(status.ok()) << rule.name;
    EXPECT_THAT(status.message(), HasSubstr(rule.message)) << rule.name;
  }
}

TEST(PlanBytes, EveryTruncationIsRefused) {
  const std::vector<std::byte> bytes = encode_plan(example_plan());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(decode_plan(std::span(bytes).first(size), "plan").ok()) << size;
  }
}

// Offsets into the encoding: docs/pte.md.
struct ByteRule {
  const char* name;
  std::size_t offset;
  std::uint32_t value;
  const char* message;
  ErrorCode code;
};
constexpr std::size_t kKvTypesOffset = 8 + 16 + 12;
constexpr std::size_t kWeightCountOffset = kKvTypesOffset + 2 + 8;
constexpr ByteRule kByteRules[] = {
    {"magic", 0, 0x12345678, "starts with 0x12345678", ErrorCode::kBadInput},
    {"version", 4, kPlanVersion + 1, "this build reads version", ErrorCode::kUnsupported},
    {"kv type", kKvTypesOffset, 2, "type of keys is 2, expected 0 to 1", ErrorCode::kBadInput},
    {"count", kWeightCountOffset, 0xffffffff, "weight count is 4294967295", ErrorCode::kBadInput},
    {"key", kWeightCountOffset + 4, 0xffffff00, "weight key", ErrorCode::kBadInput},
    {"encoding", kWeightCountOffset + 8 + 5, 0x1ff, "has encoding 255", ErrorCode::kBadInput},
    {"flag", kWeightCountOffset + 8 + 5, 0x203, "weight packed is 2", ErrorCode::kBadInput},
};

TEST(PlanBytes, RulesOfTheEncodingAreEnforced) {
  for (const ByteRule& rule : kByteRules) {
    std::vector<std::byte> bytes = encode_plan(example_plan());
    std::memcpy(bytes.data() + rule.offset, &rule.value, sizeof(rule.value));
    const Result<Plan> plan = decode_plan(bytes, "plan");
    ASSERT_FALSE(plan.ok()) << rule.name;
    EXPECT_EQ(plan.status().code(), rule.code) << rule.name;
    EXPECT_THAT(plan.status().message(), HasSubstr(rule.message)) << rule.name;
  }
}

TEST(PlanBytes, UnknownKindAndTrailingBytesAreRefused) {
  std::vector<std::byte> bytes = encode_plan(example_plan());
  // An op without weights, no imports.
  constexpr std::size_t kLastOpBytes = 59 + 2 * 4, kTailBytes = 1 + 4;
  bytes[bytes.size() - kLastOpBytes - kTailBytes] = std::byte{kPlanOpKindCount};
  Result<Plan> plan = decode_plan(bytes, "plan");
  ASSERT_FALSE(plan.ok());
  EXPECT_THAT(plan.status().message(), HasSubstr(fmt::format("op kind {}", kPlanOpKindCount)));
  bytes = encode_plan(example_plan());
  bytes.push_back(std::byte{0});
  plan = decode_plan(bytes, "plan");
  ASSERT_FALSE(plan.ok());
  EXPECT_THAT(plan.status().message(), HasSubstr("1 bytes follow"));
}

}  // namespace
}  // namespace cria
